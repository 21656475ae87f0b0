package cli

import (
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/config"

	"github.com/BurntSushi/toml"
)

// What a user pastes is valid as it stands, and sets only what there is.
func TestSnippet(t *testing.T) {
	t.Parallel()
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
	for function, edge := range map[string]string{"bigpanda": config.EdgeStream, "bigpandaBatch": config.EdgeBatch} {
		f, ok := file.UDF.Functions[function]
		if !ok || f.Prog != "/usr/local/bin/bigpanda-udf" || f.Args == nil || f.Timeout != "10s" {
			t.Errorf("the function %s is %+v", function, f)
		}
		flags := make(map[string]string)
		for pair := range slices.Chunk(f.Args, 2) {
			flags[strings.TrimPrefix(pair[0], "--")] = pair[len(pair)-1]
		}
		if s, err := config.Resolve(flags, environment(f.Env)); err != nil || s.Edge != edge || s.TokenFile == "" || s.Defaults.AppKey != placeholderAppKey {
			t.Errorf("the settings of %s are %+v (%v)", function, s, err)
		}
		for name := range f.Env {
			if !slices.Contains(config.Variables(), name) {
				t.Errorf("there is no variable %s", name)
			}
		}
	}
}
