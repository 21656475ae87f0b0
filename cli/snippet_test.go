package cli

import (
	"testing"

	"github.com/BurntSushi/toml"
)

// What a user pastes is valid as it stands, and sets only what there is.
func TestSnippet(t *testing.T) {
	var file struct {
		UDF struct {
			Functions map[string]struct {
				Prog    string
				Args    []string
				Timeout string
				Env     map[string]string
			}
		}
	}
	meta, err := toml.DecodeFile("../kapacitor.conf.snippet", &file)
	if err != nil || len(meta.Undecoded()) > 0 {
		t.Fatalf("it is read with error %v, and %v left", err, meta.Undecoded())
	}
	f, ok := file.UDF.Functions["bigpanda"]
	if !ok || f.Prog != "/usr/local/bin/bigpanda-udf" || f.Args == nil || f.Timeout != "10s" {
		t.Errorf("the function is %+v", f)
	}
	known := map[string]bool{variable("token"): true}
	for _, row := range settingTable {
		known[variable(row.name)] = true
	}
	for name := range f.Env {
		if !known[name] {
			t.Errorf("there is no variable %s", name)
		}
	}
}
