// Package config is what can be set: each setting is a row of Table, and a token
// besides. A new one is a field of Settings and a row, both in table.go; a new kind of
// value is in field.go.
//
// It owns where a setting comes from (flag, environment, handler file, the section
// [bigpanda] of a kapacitor.conf, default), in what form, and what is said of a
// value that cannot be taken: one sentence that names its origin and what to write. It
// reads the two files that settings name, and nothing else: neither the token file
// nor the network. What is done with the settings is others' to know.
package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
)

// A value is a setting's text and where it was found.
type value struct{ text, where string }

// A layer is one place that settings come from.
type layer map[string]value

// Resolve puts the layers together: flags, as text by their name, over environment
// over handler file over config file over defaults. After an error, which is the
// first in the order of the table, the other settings hold all the same.
func Resolve(flags map[string]string, lookup func(string) (string, bool)) (Settings, error) {
	s := defaults()
	layers := []layer{flagLayer(flags), environmentLayer(lookup)}
	var errs []error
	if file, ok := find(layers, "handler", false); ok {
		handler, err := readHandlerFile(file.text, &s.Defaults)
		layers, errs = append(layers, handler), append(errs, err)
	}
	if file, ok := find(layers, "config", false); ok {
		config, err := readConfigFile(file.text, &s)
		layers, errs = append(layers, config), append(errs, err)
	}
	errs = append(errs, s.apply(layers))
	if s.Outbox == "" {
		s.Outbox = stateFolder(lookup)
	}
	s.resolveToken(layers)
	s.Addresses = ProxyVariables(lookup)
	for _, l := range layers {
		s.Addresses = append(s.Addresses, l["url"].text, l["nats"].text)
	}
	if warning := s.PlainHTTP(); warning != "" && len(s.NATS.URLs) == 0 { // else no token goes there from here
		s.Warnings = append(s.Warnings, warning)
	}
	s.warnOfNATS()
	for _, err := range errs {
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// apply sets what the layers say, and returns the first error.
func (s *Settings) apply(layers []layer) (first error) {
	for _, row := range Table {
		v, ok := find(layers, row.Name, row.empty)
		if !ok {
			continue
		}
		s.Where[row.Name] = v.where
		if err := row.set(s, v.text); err != nil && first == nil {
			first = fmt.Errorf("%s is %q: %w", v.where, Shown(v.text), err)
		}
	}
	return first
}

// resolveToken takes the token, or the token file, from the first layer that
// has one. Of both in one layer the file wins, since it can be changed without
// a restart.
func (s *Settings) resolveToken(layers []layer) {
	s.TokenFile = ""
	for _, l := range layers {
		token, file := l["token"], l["token-file"]
		if token.text != "" {
			s.Secrets = append(s.Secrets, token.text)
		}
		switch {
		case s.Token != "" || s.TokenFile != "":
		case file.text != "":
			s.TokenFile = file.text
		case token.text != "":
			s.Token, s.Where["token"] = token.text, token.where
		}
	}
}

// PlainHTTP is the warning of a URL to which the token goes unencrypted; "" of others.
func (s *Settings) PlainHTTP() string {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return ""
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsLoopback() {
		return ""
	}
	return "url is http: the token crosses the network unencrypted, use https"
}

// ProxyVariables returns the values of the variables that name a proxy.
func ProxyVariables(lookup func(string) (string, bool)) []string {
	return append(EitherCase(lookup, "HTTP_PROXY"), EitherCase(lookup, "HTTPS_PROXY")...)
}

// EitherCase returns what a variable holds that is named in capitals or in small
// letters, in this order.
func EitherCase(lookup func(string) (string, bool), name string) []string {
	capitals, _ := lookup(name)
	small, _ := lookup(strings.ToLower(name))
	return []string{capitals, small}
}

// stateFolder is where the outbox is unless a setting says otherwise: in the
// user's state folder (XDG Base Directory Specification); "" if there is none.
func stateFolder(lookup func(string) (string, bool)) string {
	const name = "bigpanda-udf"
	if dir, _ := lookup("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, name)
	}
	if home, _ := lookup("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", name)
	}
	return ""
}

// find returns the first layer's value. An empty text is no value, as in the
// files that come with Kapacitor, unless it means something and is not in the
// environment, where a variable is often emptied to unset it.
func find(layers []layer, name string, emptyToo bool) (value, bool) {
	for _, l := range layers {
		if v, ok := l[name]; ok && (v.text != "" || emptyToo) {
			return v, true
		}
	}
	return value{}, false
}

func flagLayer(flags map[string]string) layer {
	l := make(layer)
	for name, text := range flags {
		l[name] = value{text, "--" + name}
	}
	return l
}

// environmentLayer takes variables without the white space around them: one that was
// made of a file, such as a secret of Kubernetes, ends with that file's newline, and one
// of an env file that was written on Windows with a carriage return. An app key with
// it is one that BigPanda does not know.
func environmentLayer(lookup func(string) (string, bool)) layer {
	l := make(layer)
	for _, name := range append(Names(), "token") {
		text, _ := lookup(Variable(name))
		if text = strings.TrimSpace(text); text != "" {
			l[name] = value{text, Variable(name)}
		}
	}
	return l
}
