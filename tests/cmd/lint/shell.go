package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// lintScripts wants every shell script below a folder to be POSIX, for it runs
// with BusyBox's shell, and formatted.
func lintScripts(folder string) error {
	var errs []error
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != folder && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case entry.Type().IsRegular() && filepath.Ext(name) == ".sh":
			errs = append(errs, lintScript(name))
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

func lintScript(name string) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	parser := syntax.NewParser(syntax.Variant(syntax.LangPOSIX), syntax.KeepComments(true))
	script, err := parser.Parse(bytes.NewReader(content), name)
	if err != nil {
		return err
	}
	var formatted bytes.Buffer
	if err := syntax.NewPrinter(syntax.Indent(2), syntax.SwitchCaseIndent(true)).Print(&formatted, script); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	want := strings.Split(formatted.String(), "\n")
	for i, line := range strings.Split(string(content), "\n") {
		if i >= len(want) || line != want[i] {
			return fmt.Errorf("%s:%d: is not formatted as by \"shfmt -i 2 -ci\"", name, i+1)
		}
	}
	return nil
}
