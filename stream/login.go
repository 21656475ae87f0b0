package stream

import (
	"crypto/tls"
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

// secret returns how to read the file of a login at each connection, which was done once.
func secret(what, file string) (read func() string, err error) {
	_, err = readSecret(what, file)
	return func() string {
		text, _ := readSecret(what, file)
		return text // none is refused, which is logged
	}, err
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
		password, err := secret("password file", o.PasswordFile)
		return []nats.Option{nats.UserInfoHandler(func() (string, string) { return o.User, password() })}, err
	case o.User+o.PasswordFile != "":
		return nil, errors.New("password file: a user needs a password file, and a password file a user; give both")
	case o.TokenFile != "":
		token, err := secret("token file", o.TokenFile)
		return []nats.Option{nats.TokenHandler(token)}, err
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
	pair, err := nkeys.ParseDecoratedUserNKey([]byte(text))
	if err != nil {
		return nil, noSeed(what, o.CredsFile)
	}
	pair.Wipe()
	return []nats.Option{nats.UserCredentials(o.CredsFile)}, nil
}

// nkey logs in with the seed of a user's key. The key itself stays as it is.
func (o Options) nkey() ([]nats.Option, error) {
	const what = "nkey file"
	if _, err := readSecret(what, o.NKeyFile); err != nil {
		return nil, err
	}
	option, err := nats.NkeyOptionFromSeed(o.NKeyFile)
	if err != nil {
		return nil, noSeed(what, o.NKeyFile)
	}
	return []nats.Option{option}, nil
}

func noSeed(what, file string) error {
	return fmt.Errorf("%s %s: it holds no seed of a user (SU…); name one that nsc or nk has made", what, file)
}

// tls makes the options of a connection that is encrypted, none if the options do
// not ask for one; a URL or a server may. The files are read here, and at each connection
// again.
func (o Options) tls() (options []nats.Option, err error) {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("certificate: it needs a key, and a key a certificate; name both files")
	}
	if o.ServerName != "" {
		options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}))
	}
	for _, one := range []struct {
		what, hint string
		option     nats.Option
		files      []string
	}{
		{"certificate", "name files in PEM form that belong together", nats.ClientCert(o.CertFile, o.KeyFile), []string{o.CertFile, o.KeyFile}},
		{"CA file", "it holds no certificate: name a file in PEM form (BEGIN CERTIFICATE)", nats.RootCAs(o.CAFile), []string{o.CAFile}},
	} {
		if one.files[0] == "" {
			continue
		}
		for _, file := range one.files { // nats.go would wait for a pipe
			if _, err := regularfile.Read(file, regularfile.MaxCertificates); err != nil {
				return nil, fmt.Errorf("%s %s: %w; name a file that this process may read", one.what, file, regularfile.Cause(err))
			}
		}
		if err := one.option(new(nats.Options)); err != nil {
			return nil, fmt.Errorf("%s %s: %w; %s", one.what, strings.Join(one.files, " with key "), clean(err), one.hint)
		}
		options = append(options, one.option)
	}
	return options, nil
}
