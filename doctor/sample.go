package main

import (
	"time"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/catalogue"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/diagnosis"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/examine"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/report"
)

// sample is a report on a database whose mirror has been forgotten: what was found
// is invented, and what is made of it is not.
func sample() *report.Report {
	now := time.Date(2026, time.November, 24, 0, 9, 0, 0, time.UTC)
	storage := cnpg.StorageArgs{
		B2:    cnpg.B2Args{Bucket: "homelab-cnpg-b2", Region: "us-west-002"},
		MinIO: cnpg.MinIOArgs{Bucket: "homelab-postgres-backups", Endpoint: "https://nas.example.org:9000", Secret: "minio-credentials"},
	}
	args := cnpg.DatabaseArgs{Namespace: "auth"}
	args.Generation = 2
	archive := diagnosis.Read{
		Folder: &catalogue.Folder{Segments: 1, NewestArrived: now},
		Restorable: &catalogue.Restorable{
			Newest:  &catalogue.Judgement{Backup: &catalogue.Backup{ID: "20261122T020003", Ended: now.Add(-46 * time.Hour)}, Last: "000000020000000300000102"},
			Windows: []catalogue.Window{{From: time.Date(2026, time.October, 25, 2, 9, 41, 0, time.UTC), To: now.Add(-4 * time.Minute)}},
		},
	}
	archive.Restorable.Taken = archive.Restorable.Newest
	archive.Restorable.Backups = []catalogue.Judgement{*archive.Restorable.Newest}
	broken := catalogue.Judgement{
		Backup: &catalogue.Backup{ID: "20261122T020003", Ended: now.Add(-46 * time.Hour)},
		State:  catalogue.Incomplete, Why: "lacks WAL 0000000200000003000000A1",
	}
	subject := &diagnosis.Subject{
		Name: "authentik", Layout: args.Layout("authentik", &storage), Stack: "stacks/Pulumi.homelab.yaml", Environment: "homelab",
		Archive: archive, Now: now,
		Mirror: diagnosis.Read{Folder: &catalogue.Folder{Segments: 1}, Restorable: &catalogue.Restorable{Backups: []catalogue.Judgement{broken}, Taken: &broken}},
	}
	return &report.Report{
		Version: report.Version, Time: now, Environment: "homelab", Databases: []diagnosis.Database{diagnosis.Diagnose(subject)},
		Calls: map[cnpg.Location]examine.Count{cnpg.B2: {B: 9, C: 12}},
	}
}
