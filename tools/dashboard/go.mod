module github.com/homelab-iac/pulumi-cnpg-backup/tools/dashboard

go 1.26.4

require github.com/grafana/grafana-foundation-sdk/go v0.0.12
