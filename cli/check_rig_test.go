package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// checkRig is what check looks at: all of it well, before a test breaks
// something.
type checkRig struct {
	t    *testing.T
	dir  string
	api  *sandbox.Server
	vars map[string]string
	args []string
	on   func(string) (string, bool) // the file system that all folders are on

	times Times
}

func newCheckRig(t *testing.T) *checkRig {
	r := &checkRig{t: t, dir: t.TempDir(), on: lasting, times: Times{Kapacitor: test.Patient}}
	var url string
	r.api, url = newAPI(t, sandbox.Faults{})
	r.vars = map[string]string{
		"BIGPANDA_TOKEN_FILE": r.file("token", testToken+"\n", 0o600), "BIGPANDA_URL": url, "BIGPANDA_APP_KEY": "k",
		"BIGPANDA_OUTBOX": r.folder("outbox", 0o700), "BIGPANDA_OUTBOX_MAX_SIZE": "1MiB",
	}
	return r
}

// handler writes a topic handler's file, and has its folder checked.
func (r *checkRig) handler(name, text string) {
	r.file(name, text, 0o600)
	r.args = []string{"--handlers=" + r.dir}
}

func (r *checkRig) file(name, text string, mode os.FileMode) string {
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *checkRig) folder(name string, mode os.FileMode) string {
	path := filepath.Join(r.dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// run runs check and returns the lines, without the rig's own folder.
func (r *checkRig) run() (result, string) {
	r.t.Helper()
	res := runProcess(r.t, Process{passingFileSystem: r.on, Times: r.times}, r.vars, append([]string{"check"}, r.args...)...)
	return res, strings.ReplaceAll(regexp.MustCompile(` {2,}`).ReplaceAllString(res.stdout, "  "), r.dir, "DIR")
}

// faulty puts an API in place that has faults.
func (r *checkRig) faulty(f sandbox.Faults) { r.vars["BIGPANDA_URL"] = second(newAPI(r.t, f)) }

func second[A, B any](_ A, b B) B { return b }

// certified serves f over TLS, with a certificate that lasts for so long, and
// returns the address and the certificate's file.
func (r *checkRig) certified(lasts time.Duration) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ours"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(r.api)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = quiet
	server.StartTLS()
	r.t.Cleanup(server.Close)
	r.vars["BIGPANDA_URL"] = server.URL + sandbox.Path
	r.vars["BIGPANDA_CA_FILE"] = r.file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o600)
}

// oim has the Open Integration Manager asked.
func (r *checkRig) oim() {
	r.vars["BIGPANDA_URL"] = strings.Replace(r.vars["BIGPANDA_URL"], sandbox.Path, sandbox.OIMPath, 1)
}

// onFileSystem has all folders be on one that does not last.
func (r *checkRig) onFileSystem(name string) {
	r.on = func(string) (string, bool) { return name, true }
}

func (r *checkRig) proxied(proxy string) {
	r.vars["BIGPANDA_URL"], r.vars["https_proxy"] = "https://nowhere.invalid/", proxy
}

// proxy is one that refuses with a status.
func (r *checkRig) proxy(status int) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	r.t.Cleanup(server.Close)
	return server.URL
}

// quiet is where servers complain of what the tests do to them.
var quiet = log.New(io.Discard, "", 0)
