package sandbox

import (
	"fmt"
	"testing"
)

// Two Kapacitor servers that run the same tasks may tell the same changes in payloads
// that differ, such as one that has begun in the middle of an incident. BigPanda goes by
// the timestamp, so in each order of arrival it ends with the newest.
func TestEachOrderEndsWithTheNewest(t *testing.T) {
	t.Parallel()
	payload := func(node, status string, timestamp int) string {
		return fmt.Sprintf(`{"app_key":"k","status":"%s","host":"a","node":"%s","timestamp":%d}`, status, node, timestamp)
	}
	told := []string{payload("1", "critical", 100), payload("2", "critical", 110), payload("1", "warning", 120), payload("2", "ok", 130)}
	for _, order := range orders(len(told)) {
		s := start(t, Options{})
		for _, i := range order {
			s.post(told[i], 201)
		}
		alerts := s.Alerts()
		if len(alerts) != 1 || alerts[0].Status != "ok" || alerts[0].Timestamp != 130 {
			t.Errorf("in the order %v: alerts %+v", order, alerts)
		}
		var page IncidentPage
		decode(t, []byte(s.call("GET", "/incidents/1", "").body), &page)
		if last := page.Timeline[len(page.Timeline)-1]; page.Status != "ok" || last.At != 130 {
			t.Errorf("in the order %v: incident %+v", order, page)
		}
	}
}

// orders are all the orders of n things.
func orders(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, rest := range orders(n - 1) {
		for at := range n {
			order := append([]int{}, rest[:at]...)
			all = append(all, append(append(order, n-1), rest[at:]...))
		}
	}
	return all
}
