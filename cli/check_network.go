package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
)

const (
	// expiresSoon is when a certificate that nobody renews should be noticed.
	expiresSoon = 21 * 24 * time.Hour
	// standIn is the token of a look at the network when there is none to use.
	standIn = "bigpanda-udf-check-no-token"
)

// network goes the connection to BigPanda, as far as it leads. sound says that the
// files can be read.
func (k *checkup) network(ctx context.Context, s settings, sound bool) {
	none := s.Token+s.TokenFile == ""
	client, err := s.newClient()
	withToken := err == nil
	if err != nil {
		if sound || none {
			k.fail("token", "", "%s", err)
		}
		// The connection can be looked at without one.
		s.Token, s.TokenFile = standIn, ""
		if client, err = s.newClient(); err != nil {
			return // the URL or a CA file, which was said
		}
	}
	defer client.Close()
	if client.ShortToken() {
		k.fail("token", hintShortToken, shortToken)
	}
	probe := client.Probe(ctx, s.Defaults.AppKey)
	u, err := url.Parse(strings.TrimSpace(s.URL))
	if ctx.Err() != nil || err != nil {
		return
	}
	if !k.reached(probe, u) {
		return
	}
	if probe.TLS != nil {
		k.certificate(*probe.TLS, u.Hostname(), s.InsecureSkipVerify)
	} else {
		k.ok("tls", "none: %s is asked in plain text", u.Host)
	}
	k.answer(probe, s, withToken)
}

// reached says how far the request came, and whether it was answered.
func (k *checkup) reached(p bigpanda.Probe, u *url.URL) (answered bool) {
	failed := func(check string) bool {
		k.fail(check, p.Err.Hint, "%s", p.Err.Err)
		return false
	}
	unanswered := p.Err != nil && p.Err.Status == 0
	if p.Err != nil && p.Err.Reason == bigpanda.ReasonProxy {
		return failed("proxy")
	}
	if p.Proxy == "" {
		k.ok("proxy", "none for %s", u.Host)
	} else {
		k.ok("proxy", "%s", p.Proxy)
	}
	if p.Host != "" {
		if unanswered && len(p.Addresses) == 0 {
			return failed("lookup")
		}
		k.ok("lookup", "%s is %s", p.Host, strings.Join(p.Addresses, ", "))
	}
	if unanswered && p.Peer == "" {
		return failed("connect")
	}
	k.ok("connect", "%s", p.Peer)
	switch {
	case !unanswered:
		return true
	case p.Err.Reason == bigpanda.ReasonTLS, u.Scheme == "https" && p.TLS == nil:
		return failed("tls")
	}
	return failed("answer")
}

// certificate tells what was agreed upon.
func (k *checkup) certificate(s tls.ConnectionState, host string, unverified bool) {
	chain := s.PeerCertificates
	if len(s.VerifiedChains) > 0 {
		chain = s.VerifiedChains[0]
	}
	if len(chain) == 0 {
		return
	}
	end := chain[0].NotAfter
	for _, c := range chain {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	found := fmt.Sprintf("%s, certificate of %s by %s, until %s", tls.VersionName(s.Version), host, issuer(chain[0].Issuer.Organization, chain[0].Issuer.CommonName), end.Format(time.DateOnly))
	switch left := time.Until(end); {
	case unverified:
		k.warn("tls", "name a private CA's certificate with --ca-file (BIGPANDA_CA_FILE) instead of --insecure-skip-verify", "%s, not verified: anybody in between could read the token", found)
	case left < expiresSoon:
		k.warn("tls", "have it renewed", "%s: that is in %d days", found, int(left.Hours()/24))
	default:
		k.ok("tls", "%s, verified", found)
	}
}

func issuer(organization []string, name string) string {
	return strings.TrimSpace(strings.Join(organization, " ") + " " + name)
}

// answer says what BigPanda answered to what is no alert, and what that means
// for the token.
func (k *checkup) answer(p bigpanda.Probe, s settings, withToken bool) {
	got := bigpanda.StatusText(p.Status)
	switch e := p.Err; {
	case !withToken:
		k.ok("answer", "%s, without a token", got)
	case e == nil && p.TokenProven:
		k.ok("token", "accepted: what is no alert gets %s with it, and 401 with another", got)
	case e == nil:
		k.note("token", "prove it with a test alert: "+programName+" send --status ok",
			"not refused, but whether it is right cannot be told: what is no alert gets %s with another, too", got)
	case e.Reason == bigpanda.ReasonToken, e.Reason == bigpanda.ReasonForbidden:
		k.fail("token", e.Hint, "%s", e.Err)
	case e.Reason == bigpanda.ReasonNotFound && s.Defaults.AppKey == "":
		k.note("answer", "set an app key, and check again; "+e.Hint, "%s, which may be for want of an app key", e.Err)
	case e.Class == bigpanda.Refused:
		k.fail("answer", "check the URL: the Alerts API is "+bigpanda.DefaultURL+" or, in the EU, "+bigpanda.EuropeURL+", the Open Integration Manager "+bigpanda.OIMURL+" or "+bigpanda.OIMEuropeURL, "%s", e.Err)
	case e.Reason == bigpanda.ReasonServer, e.Reason == bigpanda.ReasonThrottled:
		k.fail("answer", "check again later: the function keeps its alerts until then", "%s", e.Err)
	default:
		k.fail("answer", e.Hint, "%s", e.Err)
	}
}
