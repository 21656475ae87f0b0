package main

import (
	"bytes"
	"crypto/x509"
	"debug/buildinfo"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// licenceTable has a line for each module that a binary may hold, read by hand: its
// path and the SPDX expression of its licence.
//
//go:embed licences.txt
var licenceTable string

// licenceOf returns the SPDX expression of a module's licence.
func licenceOf(module string) (string, error) {
	for line := range strings.Lines(licenceTable) {
		if path, name, _ := strings.Cut(strings.TrimSpace(line), " "); path == module {
			return name, nil
		}
	}
	return "", fmt.Errorf("packaging/gen/licences.txt does not know %s: read its licence, and add its SPDX expression", module)
}

// writeLicences writes the licence of each module in a binary, and of Go.
func writeLicences(w io.Writer, binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "bigpanda-udf holds these modules, under their licences.")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	if err := writeLicence(w, "std", info.GoVersion, strings.TrimSpace(string(root))); err != nil {
		return err
	}
	for _, m := range info.Deps {
		out, err := exec.Command("go", "mod", "download", "-json", m.Path+"@"+m.Version).Output()
		if err != nil {
			return fmt.Errorf("find module %s: %w", m.Path, err)
		}
		var found struct{ Dir string }
		if err := json.Unmarshal(out, &found); err != nil {
			return err
		}
		if err := writeLicence(w, m.Path, m.Version, found.Dir); err != nil {
			return err
		}
	}
	return nil
}

func writeLicence(w io.Writer, module, version, folder string) error {
	name, err := licenceOf(module)
	if err != nil {
		return err
	}
	var texts []string
	for _, pattern := range []string{"LICENSE*", "LICENCE*", "COPYING*", "NOTICE*"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return err
		}
		texts = append(texts, found...)
	}
	texts = slices.DeleteFunc(texts, func(path string) bool { return strings.Contains(path, "_OF_DEPENDENCIES") })
	if len(texts) == 0 {
		return fmt.Errorf("%s has no licence in %s", module, folder)
	}
	fmt.Fprintf(w, "\n%s\n%s %s: %s\n%[1]s\n", strings.Repeat("-", 72), module, version, name)
	for _, path := range texts {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "\n%s\n", bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))))
	}
	return nil
}

// addLicences adds to each component of an SBOM what the table says: what the tool
// that made it guesses is wrong for some.
func addLicences(w io.Writer, r io.Reader) error {
	var sbom map[string]any
	if err := json.NewDecoder(r).Decode(&sbom); err != nil {
		return err
	}
	components, ok := sbom["components"].([]any)
	if !ok {
		return errors.New("the SBOM has no components")
	}
	for _, c := range components {
		c := c.(map[string]any)
		name, err := licenceOf(c["name"].(string))
		if err != nil {
			return err
		}
		c["licenses"] = []any{map[string]any{"expression": name}}
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(sbom)
}

// writeCertificates writes the roots that Mozilla trusts, as Go's module has them.
func writeCertificates(w io.Writer, folder string) error {
	der, err := os.ReadFile(filepath.Join(folder, "bundle", "bundle.der"))
	if err != nil {
		return err
	}
	roots, err := x509.ParseCertificates(der)
	if err != nil {
		return err
	}
	for _, root := range roots {
		fmt.Fprintf(w, "# %s\n", root.Subject)
		if err := pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}); err != nil {
			return err
		}
	}
	return nil
}
