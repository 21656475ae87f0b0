package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// file writes a file of the test and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every way to log in works, and none but that.
func TestLogin(t *testing.T) {
	t.Parallel()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	public, _ := user.PublicKey()
	operator, creds := operatorMode(t, jwt.NoLimit)
	for _, tt := range []struct {
		name, config string
		options      stream.Options
	}{
		{"user and password", `authorization { user: kapacitor, password: "s3cret pass" }`,
			stream.Options{User: "kapacitor", PasswordFile: file(t, "password", "s3cret pass\n")}},
		{"token", `authorization { token: "s3cret-token" }`, stream.Options{TokenFile: file(t, "token", "s3cret-token\n")}},
		{"nkey", fmt.Sprintf("authorization { users: [{ nkey: %s }] }", public), stream.Options{NKeyFile: file(t, "user.nk", string(seed)+"\n")}},
		{"creds", operator, stream.Options{CredsFile: file(t, "user.creds", creds)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, natstest.Options{Config: tt.config})
			send(t, connect(t, s.URL(), tt.options).NewPublisher(), 201, change("a", 0))

			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			c := connect(t, s.URL(), stream.Options{})
			if _, err := c.NewPublisher().Send(ctx, "app", [][]byte{change("a", 0)}); err == nil {
				t.Error("it works without a login, too")
			}
		})
	}
}

// operatorMode returns the configuration of a server with an operator and accounts, and
// the creds of a user, who may send messages of up to payload bytes.
func operatorMode(t *testing.T, payload int64) (config, creds string) {
	t.Helper()
	key := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		pair, err := create()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return pair, public
	}
	encode := func(c jwt.Claims, by nkeys.KeyPair) string {
		text, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	operator, operatorKey := key(nkeys.CreateOperator)
	_, systemKey := key(nkeys.CreateAccount)
	account, accountKey := key(nkeys.CreateAccount)
	user, userKey := key(nkeys.CreateUser)
	oc := jwt.NewOperatorClaims(operatorKey)
	oc.SystemAccount = systemKey
	ac := jwt.NewAccountClaims(accountKey)
	ac.Limits.Payload = payload
	ac.Limits.JetStreamLimits.DiskStorage = -1
	ac.Limits.JetStreamLimits.Streams = -1
	ac.Limits.JetStreamLimits.Consumer = -1
	operatorJWT, accountJWT := encode(oc, operator), encode(ac, operator)
	systemJWT := encode(jwt.NewAccountClaims(systemKey), operator)
	seed, _ := user.Seed()
	text, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(userKey), account), seed)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("operator: %s\nresolver: MEMORY\nresolver_preload {\n %s: %s\n %s: %s\n}\n",
		operatorJWT, accountKey, accountJWT, systemKey, systemJWT), string(text)
}

// A login that is refused is said so, without the secret, and works once its file is
// corrected: nobody has to restart anything.
func TestLoginCorrected(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{Config: `authorization { user: kapacitor, password: "right-password" }`})
	password := file(t, "password", "wrong-password")
	var log lockedText
	c, err := stream.Connect(stream.Options{
		URLs: []string{s.URL()}, User: "kapacitor", PasswordFile: password, Replicas: 1, Create: true,
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	wantFindings(t, c.Check(ctx, false), "fail nats: NATS at |check how this process logs in")
	if err := os.WriteFile(password, []byte("right-password"), 0o600); err != nil {
		t.Fatal(err)
	}
	send(t, c.NewPublisher(), 201, change("a", 0))
	c.Close()
	for _, secret := range []string{"wrong-password", "right-password"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has the password: %s", log.String())
		}
	}
}

// lockedText may be read while it is written.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// P9 and P2: what is wrong with the options is one sentence that names the option and
// the mend, and shows no secret.
func TestBadOptions(t *testing.T) {
	t.Parallel()
	const url = "nats://localhost:4222"
	secret := file(t, "secret", "Hq7-secret-kL2")
	for _, tt := range []struct {
		name, want string
		options    stream.Options
	}{
		{"no URL", "nats url: there is none", stream.Options{URLs: []string{}}},
		{"another scheme", "nats url: a URL does not begin with nats:// or tls://", stream.Options{URLs: []string{"http://localhost:4222"}}},
		{"a password in the URL", "name a file that holds it instead", stream.Options{URLs: []string{"nats://kapacitor:Hq7-secret-kL2@localhost:4222"}}},
		{"no host", "nats url: a URL has no host", stream.Options{URLs: []string{"nats://:4222"}}},
		{"a path", "nats url: a URL goes on behind the port", stream.Options{URLs: []string{"nats://localhost:4222/x"}}},
		{"a stream's name with a dot", "stream name: ", stream.Options{Stream: "BIG.PANDA"}},
		{"an inbox prefix with a wildcard", "inbox prefix: ", stream.Options{InboxPrefix: "_INBOX.*"}},
		{"seven replicas", "stream replicas: there are 1 to 5, not 7", stream.Options{Replicas: 7}},
		{"kept for less than the window", "alerts are kept for 1h0m0s, which is shorter than the window of 24h0m0s", stream.Options{MaxAge: time.Hour}},
		{"a short lease", "a lease of 10ms", stream.Options{LeaseTTL: 10 * time.Millisecond}},
		{"two ways to log in", "there are several ways to log in", stream.Options{TokenFile: secret, CredsFile: secret}},
		{"a user alone", "password file: a user needs a password file", stream.Options{User: "kapacitor"}},
		{"no file", "token file /none: no such file or directory; name a file that this process may read", stream.Options{TokenFile: "/none"}},
		{"an empty file", "it is empty", stream.Options{TokenFile: file(t, "empty", "\n")}},
		{"no creds", "it holds no JWT of a user", stream.Options{CredsFile: secret}},
		{"no nkey", "it holds no seed of a user", stream.Options{NKeyFile: secret}},
		{"no CA", "it holds no certificate", stream.Options{CAFile: secret}},
		{"a certificate without a key", "name both files", stream.Options{CertFile: secret}},
		{"no certificate", "name files in PEM form that belong together", stream.Options{CertFile: secret, KeyFile: secret}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.options.URLs == nil {
				tt.options.URLs = []string{url}
			}
			c, err := stream.Connect(tt.options)
			if err == nil {
				c.Close()
				t.Fatal("there is no error")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "Hq7-secret-kL2") {
				t.Errorf("the error is %q, wanted %q", err, tt.want)
			}
		})
	}
}

// certificates are files of a CA, and of a server and a client that it vouches for, at
// 127.0.0.2 and the addresses.
func certificates(t *testing.T, addresses ...net.IP) (ca, certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	ca = write("ca.pem", "CERTIFICATE", der)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"nats.example"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: append(addresses, net.IPv4(127, 0, 0, 2)),
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), rootKey); err != nil {
		t.Fatal(err)
	}
	certFile = write("cert.pem", "CERTIFICATE", der)
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	return ca, certFile, write("key.pem", "PRIVATE KEY", der)
}

// TLS with a CA of one's own, a client's certificate that the server asks for, and a
// name that is not the URL's; what is missing of these is said.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca, certFile, keyFile := certificates(t)
	s := natstest.Start(t, natstest.Options{Config: fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", certFile, keyFile, ca)})
	whole := stream.Options{CAFile: ca, CertFile: certFile, KeyFile: keyFile, ServerName: "nats.example"}
	c := connect(t, s.URL(), whole)
	send(t, c.NewPublisher(), 201, change("a", 0))
	wantFindings(t, c.Check(t.Context(), false), "ok nats tls: certificate until |verified")

	for _, tt := range []struct {
		name    string
		without func(*stream.Options)
	}{
		{"the CA", func(o *stream.Options) { o.CAFile = "" }},
		{"the client's certificate", func(o *stream.Options) { o.CertFile, o.KeyFile = "", "" }},
		{"the name", func(o *stream.Options) { o.ServerName = "" }},
	} {
		t.Run("without "+tt.name, func(t *testing.T) {
			t.Parallel()
			o := whole
			tt.without(&o)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			wantFindings(t, connect(t, s.URL(), o).Check(ctx, false), "fail nats: there is no trusted connection to NATS|check the CA, certificate, key and server name")
		})
	}
}
