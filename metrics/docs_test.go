package metrics

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/counters"

	"github.com/prometheus/client_golang/prometheus"
)

// Every metric and every rule is documented, and the rules ask for metrics that there
// are.
func TestDocumented(t *testing.T) {
	t.Parallel()
	page, rules := read(t, "../docs/monitoring.md"), read(t, "../monitoring/rules.yml")
	names := make(map[string]bool)
	descs := make(chan *prometheus.Desc, 2*len(table)+len(clusterTable)+len(delivererTable))
	New(Options{}).Describe(descs)
	NewCluster(ClusterOptions{}).Describe(descs)
	close(descs)
	name := regexp.MustCompile(`fqName: "bigpanda_udf_(\w+)"`)
	for d := range descs {
		n := name.FindStringSubmatch(d.String())[1]
		if names[n] || !strings.Contains(page, "`"+n+"`") {
			t.Errorf("%s is there twice, or not in docs/monitoring.md", n)
		}
		names[n] = true
	}
	for _, reason := range append(bigpanda.Reasons, counters.Accepted) {
		if !strings.Contains(page, "`"+string(reason)+"`") {
			t.Errorf("the outcome %s is not in docs/monitoring.md", reason)
		}
	}
	for _, used := range regexp.MustCompile(`bigpanda_udf_(\w+)`).FindAllStringSubmatch(rules, -1) {
		if !names[used[1]] {
			t.Errorf("the rules ask for %s, which is no metric", used[0])
		}
	}
	for _, rule := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !strings.Contains(page, "`"+rule[1]+"`") {
			t.Errorf("%s is not in docs/monitoring.md", rule[1])
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
