package cli

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"

	"bigpanda-udf/config"
	"bigpanda-udf/regularfile"
	"bigpanda-udf/system"

	"golang.org/x/net/http/httpproxy"
)

// checkupFlags are the settings of the function, and whose they are.
type checkupFlags struct {
	settingFlags
	kapacitorFlags
	KapacitorURL string `name:"kapacitor-url" placeholder:"URL" help:"Ask this running kapacitord, such as http://USER:PASSWORD@localhost:9092, whether its own BigPanda handler sends alerts, too."`
	Handlers     string `placeholder:"DIR" help:"Check the handlers' files in this folder, which serve --handlers is to have."`
	Quiet        bool   `help:"Print only what is warn or fail, and nothing else."`
	JSON         bool   `name:"json" help:"Print a JSON object for each line."`
}

// Help is what kong prints above the flags.
func (checkupFlags) Help() string {
	return `Looks at everything that must be right before an alert arrives: the settings and
where each comes from, files and permissions, the outbox, and the connection to
BigPanda up to its answer. It makes no incident: what it posts is no alert, as
status and properties are missing.

Each line is ok, note (for you to judge), warn (it works, and should not stay so)
or fail. What failed or warned comes again at the end, the worst first. The exit code
is 0 when none is warn or fail.`
}

const (
	stateOK   = "ok"
	stateNote = "note"
	stateWarn = "warn"
	stateFail = "fail"
)

type finding struct {
	Function string `json:"function,omitempty"`
	State    string `json:"state"`
	Check    string `json:"check"`
	Text     string `json:"found"`
	Hint     string `json:"hint,omitempty"`
}

type checkup struct {
	*checkupFlags
	p          Process
	hidden     *secrets
	user       string        // whoever runs this
	function   string        // of a kapacitor.conf, which is looked at
	kapacitord *kapacitorAPI // nil: it is not to be asked

	all            int // lines
	failed, warned []finding
	err            error // of the printing
}

func (f *checkupFlags) run(ctx context.Context, p Process, c *command) error {
	k := &checkup{checkupFlags: f, p: p, hidden: c.hidden, user: system.UserName(os.Geteuid())}
	if f.KapacitorURL != "" {
		var err error
		if k.kapacitord, err = newKapacitorAPI(f.KapacitorURL, p.Times.Kapacitor); err != nil {
			return usageError{err}
		}
		k.hidden.addAddresses(f.KapacitorURL)
	}
	conf, err := f.read(c)
	if err != nil {
		return err
	}
	if conf != nil {
		k.kapacitor(ctx, conf)
	} else {
		k.server(ctx)
		k.examine(ctx, c, p.LookupEnv)
	}
	if err := cmp.Or(k.err, ctx.Err()); err != nil {
		return err
	}
	return k.conclude()
}

// conclude ends with what is to be corrected: what failed before what warned, and each
// in the order of the checks, as what comes first is often the cause of the rest.
func (k *checkup) conclude() error {
	worst := slices.Concat(k.failed, k.warned)
	if !k.JSON {
		if !k.Quiet {
			k.printf("\n%s: %d failed, %d warned\n", counted(k.all, "check", "checks"), len(k.failed), len(k.warned))
		}
		for _, f := range worst {
			if f.Function != "" {
				f.Text = fmt.Sprintf("[udf.functions.%s] %s", plain(f.Function), f.Text)
			}
			k.printf("%s", f)
		}
	}
	if len(worst) > 0 && k.err == nil {
		return errSaid
	}
	return k.err
}

// examine looks at what comes of one set of flags and variables.
func (k *checkup) examine(ctx context.Context, c *command, lookup func(string) (string, bool)) {
	s, err := c.settings(Process{LookupEnv: lookup})
	k.settings(s, err)
	sound := k.files(s)
	if k.Handlers != "" {
		k.handlerFiles(s)
	}
	if !s.Enabled {
		return // the function opens neither an outbox nor a connection
	}
	k.outbox(ctx, s)
	s.Proxy = k.proxyFrom(lookup)
	if s.usesNATS() {
		k.nats(ctx, s)
		if s.Token+s.TokenFile == "" {
			k.note("token", "give it to "+programName+" deliver alone", "there is none, and none is needed: alerts go to NATS")
			return // no request to BigPanda is made from here
		}
	}
	k.network(ctx, s, sound)
}

// proxyFrom finds proxies in the variables that the function would have. One
// that is no address is not used, which nobody says but this.
func (k *checkup) proxyFrom(lookup func(string) (string, bool)) func(*url.URL) (*url.URL, error) {
	either := func(name string) string { return cmp.Or(config.EitherCase(lookup, name)...) }
	c := httpproxy.Config{HTTPProxy: either("HTTP_PROXY"), HTTPSProxy: either("HTTPS_PROXY"), NoProxy: either("NO_PROXY")}
	for name, text := range map[string]string{"HTTP_PROXY": c.HTTPProxy, "HTTPS_PROXY": c.HTTPSProxy} {
		_, err := url.Parse(text)
		if _, also := url.Parse("http://" + text); err != nil && also != nil {
			k.warn("proxy", "set it to an address such as http://HOST:PORT", "%s is no address, and is not used", name)
		}
	}
	return c.ProxyFunc()
}

// A use is what is to be done with a file, which access(2) is asked about.
type use struct {
	kind     fs.FileMode // its type
	noun, do string      // what people call the one and the other
	mode     uint32
	unseen   string // begins the sentence about what cannot be looked at
}

const (
	mayExecute = 1 << iota
	mayWrite
	mayRead
)

// usable tells whether a path is a file of the kind that is meant, with which this user
// may do what is meant; hint is about the one, hintMay about the other.
func (k *checkup) usable(check, path string, u use, hint, hintMay string) (info fs.FileInfo, ok bool) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		k.fail(check, hint, "%s%s: %s", u.unseen, path, regularfile.Cause(err))
	case info.Mode().Type() != u.kind:
		k.fail(check, hint, "%s is no %s", path, u.noun)
	default:
		err := system.Access(path, u.mode)
		if err == nil {
			return info, true
		}
		k.fail(check, hintMay, "%s may not %s %s (%s, of %s): %s", k.user, u.do, path, info.Mode(), ownerOf(info), err)
	}
	return nil, false
}

func ownerOf(info fs.FileInfo) string {
	uid, ok := system.Owner(info)
	if !ok {
		return "nobody" // a system without owners
	}
	return system.UserName(uid)
}

func (k *checkup) ok(check, format string, args ...any) { k.print(stateOK, check, "", format, args) }

func (k *checkup) note(check, hint, format string, args ...any) {
	k.print(stateNote, check, hint, format, args)
}

func (k *checkup) warn(check, hint, format string, args ...any) {
	k.print(stateWarn, check, hint, format, args)
}

func (k *checkup) fail(check, hint, format string, args ...any) {
	k.print(stateFail, check, hint, format, args)
}

// String is the line of a finding.
func (f finding) String() string {
	text := f.Text
	if f.Hint != "" {
		text += "; " + f.Hint
	}
	return fmt.Sprintf("%-4s  %-20s  %s\n", f.State, f.Check, text)
}

// print prints a line at once: what follows may take its time.
func (k *checkup) print(state, check, hint, format string, args []any) {
	shown := func(text string) string { return plain(k.hidden.redact(text)) }
	f := finding{k.hidden.redact(k.function), state, check, shown(fmt.Sprintf(format, args...)), shown(hint)}
	k.all++
	switch state {
	case stateFail:
		k.failed = append(k.failed, f)
	case stateWarn:
		k.warned = append(k.warned, f)
	default:
		if k.Quiet {
			return
		}
	}
	switch {
	case k.JSON:
		k.err = cmp.Or(k.err, k.p.printJSON(f))
	case !k.Quiet:
		k.printf("%s", f)
	}
}

func (k *checkup) printf(format string, args ...any) {
	k.err = cmp.Or(k.err, printed(fmt.Fprintf(k.p.Stdout, format, args...)))
}
