package tools

// Rclone copies from store to store in the mirror's job. It is of the release
// that the job uses by default.
func Rclone() Tool {
	return Tool{
		Name:    "rclone",
		Module:  "rclone",
		Package: "github.com/homelab-iac/pulumi-cnpg-backup/tools/rclone",
	}
}
