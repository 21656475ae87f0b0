package stream

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"bigpanda-udf/regularfile"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// maxSecret is how large a file of a login may be, in bytes: a JWT with all that it
// may hold takes a few kilobytes.
const maxSecret = 64 << 10

// readSecret reads the file of a login. The error names the file, the hint and nothing
// that is in it.
func readSecret(what, file string) (string, error) {
	text, err := regularfile.Read(file, maxSecret)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w; name a file that this process may read", what, file, regularfile.Cause(err))
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("%s %s: it is empty; put the secret into it", what, file)
	}
	return secret, nil
}

// login makes the options that prove who connects. The files are read here, so that
// what is wrong shows at once, and at each connection again, since they may have been
// renewed.
func (o Options) login() ([]nats.Option, error) {
	ways := 0
	for _, file := range []string{o.CredsFile, o.NKeyFile, o.User + o.PasswordFile, o.TokenFile} {
		if file != "" {
			ways++
		}
	}
	switch {
	case ways > 1:
		return nil, errors.New("use NATS: there are several ways to log in; leave one of creds, nkey, user and token")
	case o.CredsFile != "":
		return o.creds()
	case o.NKeyFile != "":
		return o.nkey()
	case o.User != "" && o.PasswordFile != "":
		if _, err := readSecret("password file", o.PasswordFile); err != nil {
			return nil, err
		}
		return []nats.Option{nats.UserInfoHandler(func() (string, string) {
			password, _ := readSecret("password file", o.PasswordFile)
			return o.User, password // none is refused, which is logged
		})}, nil
	case o.User+o.PasswordFile != "":
		return nil, errors.New("password file: a user needs a password file, and a password file a user; give both")
	case o.TokenFile != "":
		if _, err := readSecret("token file", o.TokenFile); err != nil {
			return nil, err
		}
		return []nats.Option{nats.TokenHandler(func() string {
			token, _ := readSecret("token file", o.TokenFile)
			return token
		})}, nil
	}
	return nil, nil
}

// creds logs in with a file as nsc makes it.
func (o Options) creds() ([]nats.Option, error) {
	const what = "creds file"
	text, err := readSecret(what, o.CredsFile)
	if err != nil {
		return nil, err
	}
	if jwt, err := nkeys.ParseDecoratedJWT([]byte(text)); err != nil || strings.Count(jwt, ".") != 2 {
		return nil, fmt.Errorf("%s %s: it holds no JWT of a user; name one that nsc has made", what, o.CredsFile)
	}
	if err := checkSeed(what, o.CredsFile, text); err != nil {
		return nil, err
	}
	return []nats.Option{nats.UserCredentials(o.CredsFile)}, nil
}

// nkey logs in with the seed of a user's key. The key itself stays as it is.
func (o Options) nkey() ([]nats.Option, error) {
	const what = "nkey file"
	text, err := readSecret(what, o.NKeyFile)
	if err != nil {
		return nil, err
	}
	if err := checkSeed(what, o.NKeyFile, text); err != nil {
		return nil, err
	}
	option, err := nats.NkeyOptionFromSeed(o.NKeyFile)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w; name one that holds the seed of a user", what, o.NKeyFile, err)
	}
	return []nats.Option{option}, nil
}

func checkSeed(what, file, text string) error {
	pair, err := nkeys.ParseDecoratedUserNKey([]byte(text))
	if err != nil {
		return fmt.Errorf("%s %s: it holds no seed of a user (SU…); name one that nsc or nk has made", what, file)
	}
	pair.Wipe()
	return nil
}

// tls makes the options of a connection that is encrypted, none if the options do
// not ask for one; a URL or a server may.
func (o Options) tls() ([]nats.Option, error) {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("certificate: it needs a key, and a key a certificate; name both files")
	}
	var certificate nats.TLSCertHandler
	if o.CertFile != "" {
		certificate = func() (tls.Certificate, error) { return readPair(o.CertFile, o.KeyFile) }
		if _, err := certificate(); err != nil {
			return nil, err
		}
	}
	var roots nats.RootCAsHandler
	if o.CAFile != "" {
		roots = func() (*x509.CertPool, error) { return readRoots(o.CAFile) }
		if _, err := roots(); err != nil {
			return nil, err
		}
	}
	var options []nats.Option
	if o.ServerName != "" {
		options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}))
	}
	if certificate != nil || roots != nil {
		options = append(options, nats.ClientTLSConfig(certificate, roots))
	}
	return options, nil
}

func readPair(certFile, keyFile string) (pair tls.Certificate, err error) {
	var texts [2][]byte
	for i, file := range []string{certFile, keyFile} {
		if texts[i], err = regularfile.Read(file, regularfile.MaxCertificates); err != nil {
			return pair, fmt.Errorf("certificate or key %s: %w; name a file that this process may read", file, regularfile.Cause(err))
		}
	}
	if pair, err = tls.X509KeyPair(texts[0], texts[1]); err != nil {
		return pair, fmt.Errorf("certificate %s with key %s: %w; name files in PEM form that belong together", certFile, keyFile, err)
	}
	return pair, nil
}

func readRoots(file string) (*x509.CertPool, error) {
	text, err := regularfile.Read(file, regularfile.MaxCertificates)
	if err != nil {
		return nil, fmt.Errorf("CA file %s: %w; name a file that this process may read", file, regularfile.Cause(err))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bytes.TrimSpace(text)) {
		return nil, fmt.Errorf("CA file %s: it holds no certificate; name a file in PEM form (BEGIN CERTIFICATE)", file)
	}
	return roots, nil
}
