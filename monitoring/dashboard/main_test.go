package main

//lint:file-ignore SA1019 what Grafana calls version 1 is what each Grafana imports; 2 takes Grafana 12

import (
	"bytes"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The dashboard that is shipped is the one that is made here, and one that Grafana's own
// schema takes. Its queries are run by a Prometheus in ../../e2e.
func TestDashboard(t *testing.T) {
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	plugins.RegisterDefaultPlugins() // the kinds of panels and queries
	var d dashboard.Dashboard
	if err := d.UnmarshalJSONStrict(want); err != nil && err.Error() != "" { // for none it has an empty list
		t.Error(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	shipped, err := os.ReadFile("../grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shipped, want) {
		t.Error("grafana-dashboard.json is not what this makes: go run . > ../grafana-dashboard.json")
	}
}
