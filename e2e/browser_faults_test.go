package e2e

import (
	"io"
	"net/http"
	"strings"
)

// fault puts faults in force, as JSON.
func (c *console) fault(faults string) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodPut, c.url+"faults", strings.NewReader(faults))
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %d %s", faults, res.StatusCode, said)
	}
}
