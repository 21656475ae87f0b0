package topic

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"

	"bigpanda-udf/hostcheck"
	"bigpanda-udf/regularfile"
)

// Access says who may post. The files are read again whenever they are needed, so
// that they can be replaced at any time.
type Access struct {
	// Hosts are names of this machine, beside loopback, the address that a request
	// was sent to and those of the certificate.
	Hosts []string
	// TokenFile holds what a request must bring, as a bearer token or as the
	// password of basic authentication; "": nothing. OnToken, if set, is told of
	// each token that was read.
	TokenFile string
	OnToken   func(token string)
	// Certificate and Key are PEM files; "": there is no TLS.
	Certificate, Key string
}

// Check finds what is missing: whoever is not on this machine needs a token, and
// must be able to keep it to themselves. The error is a sentence about flags.
func (a Access) Check(at *net.TCPAddr) error {
	switch {
	case (a.Certificate == "") != (a.Key == ""):
		return fmt.Errorf("--http-cert and --http-key belong together: set both, or neither")
	case !at.IP.IsLoopback() && (a.TokenFile == "" || a.Certificate == ""):
		return fmt.Errorf("--http %s is not only for this machine: set --http-token-file, and --http-cert and --http-key, or listen on 127.0.0.1", at)
	}
	if a.TokenFile != "" {
		if _, err := a.token(); err != nil {
			return err
		}
	}
	if a.Certificate != "" {
		if _, err := a.loadCertificate(); err != nil {
			return err
		}
	}
	return nil
}

func (a Access) token() (string, error) {
	text, err := regularfile.Read(a.TokenFile, regularfile.MaxText)
	if err != nil {
		return "", fmt.Errorf("--http-token-file: %w: name a file that this user may read", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("--http-token-file: %s is empty: write a token into it, such as that of openssl rand -hex 32", a.TokenFile)
	}
	if a.OnToken != nil {
		a.OnToken(token)
	}
	return token, nil
}

func (a Access) loadCertificate() (*tls.Certificate, error) {
	certificate, err := regularfile.Read(a.Certificate, regularfile.MaxCertificates)
	if err != nil {
		return nil, fmt.Errorf("--http-cert: %w: name a file that this user may read", err)
	}
	key, err := regularfile.Read(a.Key, regularfile.MaxText)
	if err != nil {
		return nil, fmt.Errorf("--http-key: %w: name a file that this user may read", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("--http-cert and --http-key: %w: name a certificate and its key, both PEM", err)
	}
	return &pair, nil
}

// A guard lets in who may post.
type guard struct {
	Access
	log *slog.Logger

	mu    sync.Mutex
	pair  *tls.Certificate // the last one that was good
	fault string           // that was said
}

// certificate is tls.Config.GetCertificate. While the files are not right, as in
// the middle of a renewal, the pair before holds.
func (g *guard) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	pair, err := g.loadCertificate()
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.pair, g.fault = pair, ""
	case g.pair == nil:
		return nil, err
	case g.fault != err.Error():
		g.fault = err.Error()
		g.log.Error("the certificate cannot be read again: the one before holds", "error", err)
	}
	return g.pair, nil
}

// check refuses who may not post.
func (g *guard) check(w http.ResponseWriter, r *http.Request) error {
	if !hostcheck.Names(r, g.Hosts, g.isName) {
		return refuse(http.StatusForbidden, "the Host header names neither loopback nor the address or the name that is listened on: send to one of these")
	}
	if g.TokenFile == "" {
		return nil
	}
	token, err := g.token()
	if err != nil {
		return &refusal{http.StatusServiceUnavailable, "the token is not known here", err}
	}
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") { // in any case (RFC 9110, 11.1)
		_, given, _ = r.BasicAuth()
	}
	// Of hashes, whose lengths are equal.
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(given))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		w.Header().Set("WWW-Authenticate", `Basic realm="bigpanda-udf"`)
		return refuse(http.StatusUnauthorized, "the token of --http-token-file is missing or another one: send it as a bearer token, or as the password in basic-auth of Kapacitor's [[httppost]]")
	}
	return nil
}

// isName reports whether the certificate is for a name.
func (g *guard) isName(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pair != nil && g.pair.Leaf != nil && g.pair.Leaf.VerifyHostname(name) == nil
}
