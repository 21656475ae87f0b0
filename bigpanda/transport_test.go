package bigpanda

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proto", r.Proto)
		w.WriteHeader(http.StatusCreated)
	})
	start := func(change func(*httptest.Server)) *httptest.Server {
		server := httptest.NewUnstartedServer(handler)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		change(server)
		server.StartTLS()
		t.Cleanup(server.Close)
		return server
	}
	server := start(func(*httptest.Server) {})
	http2 := start(func(s *httptest.Server) { s.EnableHTTP2 = true })
	old := start(func(s *httptest.Server) { s.TLS = oldTLS() })
	plain := serve(t, handler)
	ca := func(s *httptest.Server) string {
		return writeFile(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(server.URL, "https://"))

	tests := []struct {
		name string
		o    Options
		want Reason
		hint string
	}{
		{"a certificate of an unknown CA", Options{URL: server.URL}, ReasonTLS, "--ca-file"},
		{"of a CA that is named", Options{URL: server.URL, CAFile: ca(server)}, "", ""},
		{"of any CA when nobody looks", Options{URL: server.URL, InsecureSkipVerify: true}, "", ""},
		{"over HTTP/2", Options{URL: http2.URL, CAFile: ca(http2)}, "", ""},
		{"for another name", Options{URL: "https://localhost:" + port, CAFile: ca(server)}, ReasonTLS, "URL"},
		{"no common version", Options{URL: old.URL, CAFile: ca(old)}, ReasonTLS, "URL"},
		{"no TLS at all", Options{URL: strings.Replace(plain.URL, "http", "https", 1)}, ReasonTLS, "other than HTTPS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, e := send(t, dial(t, tt.o))
			if tt.want == "" {
				if e != nil {
					t.Error(e)
				}
				return
			}
			if e == nil || e.Class != Hold || e.Reason != tt.want || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("%+v, want %s with %q", e, tt.want, tt.hint)
			}
		})
	}
}

// Whoever signs for BigPanda, as a proxy that looks into TLS, may be renewed.
func TestCAFileIsReadAnew(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	file := writeFile(t, "ca.pem", anotherCA(t))
	c := dial(t, Options{URL: server.URL, CAFile: file})
	mustHold := func(hint string) {
		t.Helper()
		if _, e := send(t, c); e == nil || e.Class != Hold || e.Reason != ReasonTLS || !strings.Contains(e.Hint, hint) {
			t.Fatalf("%+v, want hold with %q", e, hint)
		}
	}
	mustHold("--ca-file")
	if err := os.WriteFile(file, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustHold("it holds no certificate")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	mustHold("--ca-file") // and read it
	if _, e := send(t, c); e != nil {
		t.Error(e)
	}
}

// anotherCA returns a certificate that has signed for nobody.
func anotherCA(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

func TestHTTP2IsUsedWhenOffered(t *testing.T) {
	t.Parallel()
	var proto atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto.Store(r.Proto)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	if _, e := send(t, dial(t, Options{URL: server.URL, InsecureSkipVerify: true, Timeout: time.Minute})); e != nil {
		t.Fatal(e)
	}
	if proto.Load() != "HTTP/2.0" {
		t.Errorf("spoke %v", proto.Load())
	}
}
