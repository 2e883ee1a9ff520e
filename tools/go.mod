module github.com/homelab-iac/pulumi-cnpg-backup/tools

go 1.26.4

require github.com/stretchr/testify v1.12.1

require go.yaml.in/yaml/v3 v3.0.5 // indirect
