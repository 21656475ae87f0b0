package cli

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strconv"

	"bigpanda-udf/config"
	"bigpanda-udf/system"

	"golang.org/x/net/http/httpproxy"
)

// checkupFlags are the settings of the function, and whose they are.
type checkupFlags struct {
	settingFlags
	KapacitorConf string `placeholder:"FILE" help:"Check the function's section in this kapacitor.conf, as kapacitord would start it."`
	Function      string `placeholder:"NAME" help:"Which function of --kapacitor-conf (those whose prog is this program)."`
	KapacitorURL  string `name:"kapacitor-url" placeholder:"URL" help:"Ask this running kapacitord, such as http://USER:PASSWORD@localhost:9092, whether its own BigPanda handler sends alerts, too."`
	Handlers      string `placeholder:"DIR" help:"Check the handlers' files in this folder, which serve --handlers is to have."`
	JSON          bool   `name:"json" help:"Print a JSON object for each line."`
}

// Help is what kong prints above the flags.
func (checkupFlags) Help() string {
	return `Looks at everything that must be right before an alert arrives: the settings and
where each comes from, files and permissions, the outbox, and the connection to
BigPanda up to its answer. It makes no incident: what it posts is no alert, as
status and properties are missing.

Each line is ok, note (for you to judge), warn (it works, and should not stay so)
or fail. The exit code is 0 when none is warn or fail.`
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
	Found    string `json:"found"`
	Hint     string `json:"hint,omitempty"`
}

type checkup struct {
	p          Process
	json       bool
	hidden     *secrets
	user, home string        // whoever runs this, and the folder of theirs
	function   string        // of a kapacitor.conf
	handlers   string        // the folder of topic handlers' files; "": none
	kapacitord *kapacitorAPI // nil: it is not to be asked

	lines map[string]int // by state
	err   error          // of the printing
}

func (f *checkupFlags) run(ctx context.Context, p Process, c *command) error {
	k := &checkup{p: p, json: f.JSON, hidden: c.hidden, handlers: f.Handlers, user: userName(os.Geteuid()), lines: make(map[string]int)}
	if u, err := user.Current(); err == nil {
		k.home = u.HomeDir
	}
	if f.KapacitorURL != "" {
		var err error
		if k.kapacitord, err = newKapacitorAPI(f.KapacitorURL, p.Times.Kapacitor); err != nil {
			return usageError{err}
		}
		k.hidden.addAddresses(f.KapacitorURL)
	}
	switch {
	case f.KapacitorConf == "" && f.Function != "":
		return usagef("--function names one of a kapacitor.conf: add --kapacitor-conf FILE, or leave it out")
	case f.KapacitorConf == "":
		k.server(ctx)
		k.examine(ctx, c, p.LookupEnv)
	case len(c.flags) > 0:
		return usagef("--%s means nothing with --kapacitor-conf: only what stands in that file counts",
			slices.Sorted(maps.Keys(c.flags))[0])
	default:
		if err := k.kapacitor(ctx, f); err != nil {
			return err
		}
	}
	if err := cmp.Or(k.err, ctx.Err()); err != nil {
		return err
	}
	failed, warned := k.lines[stateFail], k.lines[stateWarn]
	if failed+warned > 0 {
		all := failed + warned + k.lines[stateOK] + k.lines[stateNote]
		return fmt.Errorf("of %s %d failed and %d warned", counted(all, "check", "checks"), failed, warned)
	}
	return nil
}

// examine looks at what comes of one set of flags and variables.
func (k *checkup) examine(ctx context.Context, c *command, lookup func(string) (string, bool)) {
	s, err := c.settings(Process{LookupEnv: lookup})
	k.hidden.addSettings(s.Settings)
	s.hideTokenFile(k.hidden)
	k.settings(s, err)
	sound := k.files(s)
	if k.handlers != "" {
		k.handlerFiles(s, k.handlers)
	}
	if !s.Enabled {
		return // the function opens neither an outbox nor a connection
	}
	k.outbox(ctx, s)
	s.proxy, s.hidden = k.proxyFrom(lookup), k.hidden
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

// What access(2) may be asked for.
const (
	mayExecute = 1 << iota
	mayWrite
	mayRead
)

// may returns an error if this user may not do something with a file.
func (k *checkup) may(do string, mode uint32, path string, info fs.FileInfo) error {
	if err := system.Access(path, mode); err != nil {
		return fmt.Errorf("%s may not %s %s (%s, of %s): %w", k.user, do, path, info.Mode(), ownerOf(info), err)
	}
	return nil
}

func ownerOf(info fs.FileInfo) string {
	uid, ok := system.Owner(info)
	if !ok {
		return "nobody" // a system without owners
	}
	return userName(uid)
}

func userName(uid int) string {
	text := strconv.Itoa(uid)
	if u, err := user.LookupId(text); err == nil {
		return u.Username
	}
	return "user " + text
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

// print prints a line at once: what follows may take its time.
func (k *checkup) print(state, check, hint, format string, args []any) {
	k.lines[state]++
	shown := func(text string) string { return plain(k.hidden.redact(text)) }
	f := finding{k.hidden.redact(k.function), state, check, shown(fmt.Sprintf(format, args...)), shown(hint)}
	var err error
	if k.json {
		err = k.p.printJSON(f)
	} else {
		text := f.Found
		if f.Hint != "" {
			text += "; " + f.Hint
		}
		err = printed(fmt.Fprintf(k.p.Stdout, "%-4s  %-20s  %s\n", f.State, f.Check, text))
	}
	k.err = cmp.Or(k.err, err)
}
