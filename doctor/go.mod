module github.com/homelab-iac/pulumi-cnpg-backup/doctor

go 1.26.4

// Only here: the two are of one release.
replace github.com/homelab-iac/pulumi-cnpg-backup => ../

require (
	github.com/klauspost/compress v1.19.2
	github.com/pierrec/lz4/v4 v4.1.26
	github.com/stretchr/testify v1.12.1
	github.com/ulikunitz/xz v0.5.15
	golang.org/x/sync v0.23.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
