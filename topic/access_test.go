package topic

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/udf"
)

// writeCertificate writes a new certificate for a name, and its key.
func writeCertificate(t *testing.T, certificate, key, name string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	put(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes})))
	put(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})))
}

func TestAccessCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeCertificate(t, file("cert"), file("key"), "daemon.example")
	writeCertificate(t, file("cert2"), file("key2"), "daemon.example")
	put(t, file("token"), "the-token\n")
	put(t, file("empty"), "\n")
	both := Access{TokenFile: file("token"), Certificate: file("cert"), Key: file("key")}
	for _, tt := range []struct {
		name, address string
		access        Access
		want          string
	}{
		{"loopback needs nothing", "127.0.0.2:9095", Access{}, ""},
		{"the other loopback", "[::1]:9095", Access{}, ""},
		{"loopback may have it all", "127.0.0.1:9095", both, ""},
		{"elsewhere with both", "192.0.2.1:9095", both, ""},
		{"everywhere with both", "0.0.0.0:9095", both, ""},
		{"elsewhere", "192.0.2.1:9095", Access{}, "--http 192.0.2.1:9095 is not only for this machine: set --http-token-file, and --http-cert and --http-key, or listen on 127.0.0.1"},
		{"everywhere with a token", "[::]:9095", Access{TokenFile: file("token")}, "--http [::]:9095 is not only for this machine: set --http-token-file, and --http-cert and --http-key, or listen on 127.0.0.1"},
		{"elsewhere with a certificate", "192.0.2.1:9095", Access{Certificate: file("cert"), Key: file("key")}, "--http 192.0.2.1:9095 is not only for this machine: set --http-token-file, and --http-cert and --http-key, or listen on 127.0.0.1"},
		{"a certificate without its key", "127.0.0.1:9095", Access{Certificate: file("cert")}, "--http-cert and --http-key belong together: set both, or neither"},
		{"a key without its certificate", "127.0.0.1:9095", Access{Key: file("key")}, "--http-cert and --http-key belong together: set both, or neither"},
		{"the key of another one", "127.0.0.1:9095", Access{Certificate: file("cert"), Key: file("key2")}, "--http-cert and --http-key: tls: private key does not match public key: name a certificate and its key, both PEM"},
		{"no certificate", "127.0.0.1:9095", Access{Certificate: file("none"), Key: file("key")}, "--http-cert: open " + file("none") + ": no such file or directory: name a file that this user may read"},
		{"no key", "127.0.0.1:9095", Access{Certificate: file("cert"), Key: file("none")}, "--http-key: open " + file("none") + ": no such file or directory: name a file that this user may read"},
		{"no token file", "127.0.0.1:9095", Access{TokenFile: file("none")}, "--http-token-file: open " + file("none") + ": no such file or directory: name a file that this user may read"},
		{"an empty token file", "127.0.0.1:9095", Access{TokenFile: file("empty")}, "--http-token-file: " + file("empty") + " is empty: write a token into it, such as that of openssl rand -hex 32"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at, err := net.ResolveTCPAddr("tcp", tt.address)
			if err != nil {
				t.Fatal(err)
			}
			if err = tt.access.Check(at); err == nil && tt.want != "" || err != nil && err.Error() != tt.want {
				t.Errorf("the error is\n%v, want\n%s", err, tt.want)
			}
		})
	}
}

// P9: the token lets in as a bearer and as a password, can be replaced at any time,
// and is in no log.
func TestToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	put(t, file, "first-token\n")
	r := startServer(t, func(o *Options, _ *times) { o.Access.TokenFile = file })
	bearer := func(token string) func(*http.Request) {
		return func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+token) }
	}
	password := func(token string) func(*http.Request) {
		return func(q *http.Request) { q.SetBasicAuth("kapacitor", token) }
	}
	good := event("a", udf.Critical, udf.OK, 0)
	const missing = "the token of --http-token-file is missing or another one: send it as a bearer token, or as the password in basic-auth of Kapacitor's [[httppost]]"
	try := func(what string, change func(*http.Request), status int, text string) {
		t.Helper()
		if got, said := r.post("cpu", good, change); got != status || said != text {
			t.Errorf("%s: the answer is %d %q, want %d %q", what, got, said, status, text)
		}
	}
	try("none", nil, 401, missing)
	try("another bearer", bearer("first-toke"), 401, missing)
	try("another password", password("first-token\n"), 401, missing)
	try("the token as a user", func(q *http.Request) { q.SetBasicAuth("first-token", "") }, 401, missing)
	try("a bearer", bearer("first-token"), 200, "")
	try("a bearer in small letters", func(q *http.Request) { q.Header.Set("Authorization", "bearer first-token") }, 200, "")
	try("a password", password("first-token"), 200, "")
	put(t, file, "second-token")
	try("the one of before", bearer("first-token"), 401, missing)
	try("the new one", password("second-token"), 200, "")
	put(t, file, "")
	try("an empty file", bearer(""), 503, "the token is not known here")
	for _, token := range []string{"first-token", "second-token"} {
		if strings.Contains(r.log.String(), token) {
			t.Errorf("the log shows %s", token)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writeCertificate(t, certificate, key, "first.example")
	r := startServer(t, func(o *Options, _ *times) { o.Access.Certificate, o.Access.Key = certificate, key })
	serves := func(name string) {
		t.Helper()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := conn.ConnectionState().PeerCertificates[0].DNSNames[0]; got != name {
			t.Errorf("the certificate is for %s, want %s", got, name)
		}
	}
	named := func(name string) func(*http.Request) { return func(q *http.Request) { q.Host = name } }
	good := event("a", udf.Critical, udf.OK, 0)
	// In the middle of a renewal, before anybody has come.
	if err := os.Rename(key, key+".old"); err != nil {
		t.Fatal(err)
	}
	serves("first.example")
	if err := os.Rename(key+".old", key); err != nil {
		t.Fatal(err)
	}
	serves("first.example")
	if status, text := r.post("cpu", good, named("first.example:9095")); status != 200 {
		t.Errorf("by the name of the certificate the answer is %d %q", status, text)
	}
	if status, _ := r.post("cpu", good, named("other.example")); status != 403 {
		t.Errorf("by another name the answer is %d", status)
	}
	// In the middle of a renewal the pair does not fit.
	if err := errors.Join(os.Rename(key, key+".old"), os.WriteFile(key, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	serves("first.example")
	serves("first.example")
	if n := strings.Count(r.log.String(), "the certificate cannot be read again: the one before holds"); n != 2 {
		t.Errorf("the log says %d times that the certificate is wrong", n)
	}
	writeCertificate(t, certificate, key, "second.example")
	serves("second.example")
	if status, text := r.post("cpu", good, named("second.example")); status != 200 {
		t.Errorf("by its new name the answer is %d %q", status, text)
	}
	r.url = "http" + strings.TrimPrefix(r.url, "https")
	if status, _ := r.post("cpu", good, nil); status != 400 {
		t.Errorf("without TLS the answer is %d", status)
	}
}
