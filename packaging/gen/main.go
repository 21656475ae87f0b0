// Command gen makes what a release holds beside the program: man pages and
// completions from the command's own help, the licences and the SBOM from the
// modules of a binary, and the certificates of the image.
package main

import (
	"fmt"
	"os"
)

const usage = `usage:
  gen man VERSION DATE FOLDER       man pages, of a commit's date (2006-01-02)
  gen completions FOLDER            for bash, zsh and fish
  gen licences BINARY               the texts, to stdout
  gen sbom                          a CycloneDX SBOM from stdin, with licences, to stdout
  gen certificates MODULE_FOLDER    those of golang.org/x/crypto/x509roots/fallback, as PEM, to stdout`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s", usage)
	}
	switch what := args[0]; {
	case what == "man" && len(args) == 4:
		return writeManPages(args[1], args[2], args[3])
	case what == "completions" && len(args) == 2:
		return writeCompletions(args[1])
	case what == "licences" && len(args) == 2:
		return writeLicences(os.Stdout, args[1])
	case what == "sbom" && len(args) == 1:
		return addLicences(os.Stdout, os.Stdin)
	case what == "certificates" && len(args) == 2:
		return writeCertificates(os.Stdout, args[1])
	}
	return fmt.Errorf("%s", usage)
}
