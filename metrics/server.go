package metrics

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"bigpanda-udf/hostcheck"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// Path is where the metrics are, and ReadyPath where probes ask.
const (
	Path      = "/metrics"
	ReadyPath = "/ready"
)

// Write writes what a scrape gets, for those who collect files.
func Write(w io.Writer, c *Collector) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	for _, f := range families {
		if _, writeErr := expfmt.MetricFamilyToText(w, f); writeErr != nil {
			return fmt.Errorf("print: %w", writeErr)
		}
	}
	return err
}

// NewServer returns what answers scrapes, and at ReadyPath probes, if ready is not nil:
// 200, or 503 with the error's text. At loopback it keeps web pages of others out,
// which reach it through a browser on this machine; elsewhere it answers whoever can
// reach it, by whatever name.
func NewServer(ready func() error, collectors ...prometheus.Collector) *http.Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors...)
	mux := http.NewServeMux()
	// Scrapes wait for each other: of more than a few at once the rest is refused (503).
	mux.Handle("GET "+Path, promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 8}))
	if ready != nil {
		mux.HandleFunc("GET "+ReadyPath, func(w http.ResponseWriter, _ *http.Request) {
			if err := ready(); err != nil {
				http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
				return
			}
			io.WriteString(w, "ready\n")
		})
	}
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if local != nil && local.IP.IsLoopback() && !hostcheck.Names(r, nil, nil) {
			http.Error(w, "this is not the host that the request names", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
	return &http.Server{
		Handler: own, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}
