package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stockUDF is what the kapacitor.conf that Kapacitor comes with has of functions.
const stockUDF = `
[udf]
# Configuration for UDFs (User Defined Functions)
[udf.functions]
    # uncomment to enable
    #[udf.functions.goavg]
    #   prog = "./avg_udf"
    #   args = []
    #   timeout = "10s"

[talk]
  enabled = false
`

// What a user pastes at the end of a kapacitor.conf works as it is, whether there
// are functions in the file or not, and check finds nothing to correct.
func TestPastedIntoKapacitorConf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, conf, paste string }{
		{"the snippet into the stock file", stockUDF, "kapacitor.conf.snippet"},
		{"the snippet into a file without [udf]", "", "kapacitor.conf.snippet"},
		{"the block of the README into the stock file", stockUDF, "README.md"},
		{"the block of the README into a file without [udf]", "", "README.md"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			panda := startBigPanda(t)
			k := startKapacitor(t, nil)
			k.stop()
			text, err := os.ReadFile(filepath.Join("..", tt.paste))
			if err != nil {
				t.Fatal(err)
			}
			paste := string(text)
			if tt.paste == "README.md" {
				_, paste, _ = strings.Cut(paste, "```toml\n")
				paste, _, _ = strings.Cut(paste, "```")
			}
			tokenFile := filepath.Join(t.TempDir(), "bigpanda.token")
			if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
			// What a user has elsewhere than the text has it, and this BigPanda.
			outbox := filepath.Join(k.dir, "outbox")
			for old, to := range map[string]string{
				"/usr/local/bin/bigpanda-udf":                         function,
				"/etc/kapacitor/bigpanda.token":                       tokenFile,
				"YOUR_APP_KEY":                                        appKey,
				`BIGPANDA_OUTBOX = "/var/lib/kapacitor/bigpanda-udf"`: fmt.Sprintf("BIGPANDA_OUTBOX = %q\nBIGPANDA_URL = %q\nBIGPANDA_OUTBOX_MAX_SIZE = \"1MiB\"", outbox, panda.url),
			} {
				if !strings.Contains(paste, old) {
					t.Fatalf("%s has no %s", tt.paste, old)
				}
				paste = strings.ReplaceAll(paste, old, to)
			}
			conf, err := os.ReadFile(k.conf)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(k.conf, []byte(string(conf)+tt.conf+paste), 0o600); err != nil {
				t.Fatal(err)
			}
			k.start()
			k.define("pasted", withOptions(""))
			k.write(fmt.Sprintf("cpu,host=web-1 usage=95 %d", at(0)))
			panda.waitForCount(1)
			if _, err := os.Stat(outbox); err != nil {
				t.Errorf("the outbox is elsewhere: %v", err)
			}
			// Whether these folders last is not what the file says.
			lines, _ := exec.Command(function, "check", "--kapacitor-conf", k.conf).Output()
			for line := range strings.Lines(string(lines)) {
				if strings.HasPrefix(line, "fail") || strings.HasPrefix(line, "warn") && !strings.Contains(line, " is on ") {
					t.Errorf("check says %s", line)
				}
			}
			if !strings.Contains(string(lines), "token                 accepted") {
				t.Errorf("check says\n%s", lines)
			}
		})
	}
}

// A kapacitor.conf with [udf] twice stops kapacitord, and check names the line
// that is too much.
func TestTwoUDFSections(t *testing.T) {
	t.Parallel()
	conf := filepath.Join(t.TempDir(), "kapacitor.conf")
	text := stockUDF + "[udf]\n[udf.functions]\n  [udf.functions.bigpanda]\n    prog = \"" + function + "\"\n    args = []\n    timeout = \"10s\"\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(kapacitord, "-config", conf).CombinedOutput()
	if err == nil || !strings.Contains(string(said), "udf") {
		t.Errorf("kapacitord starts with it, or complains of something else: %v\n%s", err, said)
	}
	said, err = exec.Command(function, "check", "--kapacitor-conf", conf).CombinedOutput()
	first := strings.Count(stockUDF, "\n") + 1
	want := fmt.Sprintf("the section [udf] stands a second time in line %d: leave that line out; "+
		"the section [udf.functions] stands a second time in line %d: leave that line out\n", first, first+1)
	if err == nil || !strings.HasSuffix(string(said), want) {
		t.Errorf("check says %s(%v), want %s", said, err, want)
	}
}
