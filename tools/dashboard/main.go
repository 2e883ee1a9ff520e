// Command dashboard writes the dashboard for Grafana that the component puts into
// a ConfigMap; "go generate ./components/cnpg" runs it. With -check it writes
// nothing and fails when the file is not what is written here.
//
// The dashboard knows no environment: what belongs to one is recorded by the
// rules of its databases. So it is one file, and the libraries that it is made
// with are compiled here and nowhere else.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
)

func main() {
	file := flag.String("file", "../../components/cnpg/dashboard.json", "the file to write")
	check := flag.Bool("check", false, "write nothing; fail when the file is out of date")
	flag.Parse()
	if err := run(*file, *check); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func run(file string, check bool) error {
	made, err := overview().Build()
	if err != nil {
		return err
	}
	want, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return err
	}
	want = append(want, '\n')
	if !check {
		return os.WriteFile(file, want, 0o644)
	}
	have, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%s is out of date; run: go generate ./components/cnpg", file)
	}
	return nil
}
