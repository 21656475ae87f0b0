package udf_test

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/test"
)

// calls is n templates, each of which calls the one before twice: 2^n calls.
func calls(n int) string {
	var b strings.Builder
	b.WriteString(`{{ define "0" }}{{ end }}`)
	for i := range n {
		fmt.Fprintf(&b, `{{ define "%d" }}{{ template "%d" }}{{ template "%[2]d" }}{{ end }}`, i+1, i)
	}
	fmt.Fprintf(&b, `{{ template "%d" }}`, n)
	return b.String()
}

// P1, P6: whatever a template does on a point takes little time and memory. Over
// its budget, it is one that fails: its property is left out.
func TestTemplateBudget(t *testing.T) {
	t.Parallel()
	const steps, handled, made = "more than 10000 steps", "more than 262144 bytes of text", "it makes more than 1048576 bytes"
	big := strings.Repeat("x", 600<<10)
	for _, tt := range []struct{ name, text, want string }{
		{"print that doubles", `{{ $x := .Name }}{{ range 40 }}{{ $x = print $x $x }}{{ end }}{{ $x }}`, handled},
		{"println that doubles", `{{ $x := .Name }}{{ range 40 }}{{ $x = println $x $x }}{{ end }}`, handled},
		{"doubles without a loop", `{{ $x := .Name }}` + strings.Repeat(`{{ $x = print $x $x }}`, 40), handled},
		{"printf that doubles", `{{ $x := .Name }}{{ range 40 }}{{ $x = printf "%s%[1]s" $x }}{{ end }}`, handled},
		{"a value by its number", `{{ $x := "%[1]s" }}{{ range 12 }}{{ $x = print $x $x }}{{ end }}{{ printf $x .Fields.big }}`, handled},
		{"a width", `{{ printf "%1000000d" 1 }}`, handled},
		{"widths", `{{ printf "%200000d%200000d" 1 2 }}`, handled},
		{"widths from arguments", `{{ printf "%*d%*d" 200000 1 200000 2 }}`, handled},
		{"negative widths", `{{ printf "%*d%*d" -200000 1 -200000 2 }}`, handled},
		{"precisions", `{{ printf "%.200000d%.200000f" 1 2.0 }}`, handled},
		{"a width of many for each of many", `{{ $x := "%*d" }}{{ range 12 }}{{ $x = print $x $x }}{{ end }}{{ printf $x` + strings.Repeat(" 1", 20_000) + ` }}`, handled},
		{"a width for each tag", `{{ printf "%200000s" .Tags }}`, handled},
		{"a width for each byte", `{{ printf "%20000d" (.Time.MarshalText) }}`, handled},
		{"html", `{{ $x := "&" }}{{ range 40 }}{{ $x = html $x $x }}{{ end }}`, handled},
		{"js", `{{ $x := "<" }}{{ range 40 }}{{ $x = js $x $x $x }}{{ end }}`, handled},
		{"urlquery", `{{ $x := "%" }}{{ range 40 }}{{ $x = urlquery $x $x }}{{ end }}`, handled},
		{"a pipeline", `{{ $x := .Name }}{{ range 40 }}{{ $x = $x | print $x }}{{ end }}`, handled},
		{"slice", `{{ range 1000 }}{{ range 1000 }}{{ slice $.Name 1 }}{{ end }}{{ end }}`, steps},
		{"slice of what doubles", `{{ $x := .Name }}{{ range 40 }}{{ $x = print $x $x }}{{ $x = slice $x 1 }}{{ end }}`, handled},
		{"the layout of a time", `{{ $x := "22" }}{{ range 40 }}{{ $x = $.Time.Format $x }}{{ $x = $x | $.Time.Format }}{{ end }}`, handled},
		{"the same without a loop", `{{ $x := "22" }}` + strings.Repeat(`{{ $x = .Time.Format $x }}`, 40), handled},
		{"a time behind a text", `{{ $x := .Time.MarshalText }}{{ range 20000 }}{{ $x = $.Time.AppendFormat $x "Monday" }}{{ end }}`, handled},
		{"a long layout", `{{ range 10000 }}{{ $x := $.Time.Format "` + strings.Repeat("January", 5000) + `" }}{{ end }}`, steps},
		{"large values that are compared", `{{ range 10000 }}{{ if eq $.Fields.big $.Fields.big }}{{ end }}{{ end }}`, handled},
		{"large keys", `{{ range 10000 }}{{ if index $.Tags $.Fields.big }}{{ end }}{{ end }}`, handled},

		{"a large number", fmt.Sprintf(`{{ range %d }}{{ end }}`, math.MaxInt64), steps},
		{"a number of the data", `{{ range .Fields.n }}{{ end }}`, steps},
		{"loops in loops", `{{ range 1000 }}{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}{{ end }}`, steps},
		{"loops that end at once", `{{ range 100000 }}{{ range $.Tags }}{{ break }}{{ end }}{{ end }}`, steps},
		{"loops over nothing", `{{ range 100000 }}{{ range 0 }}{{ else }}{{ end }}{{ end }}`, steps},
		{"a loop in a condition", `{{ if true }}{{ with 1 }}{{ range 100000 }}{{ continue }}{{ end }}{{ end }}{{ end }}`, steps},
		{"calls of calls", calls(39), steps},
		{"a template that calls itself", `{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`, steps},
		{"a block that calls itself", `{{ block "a" . }}{{ template "a" . }}{{ end }}`, steps},
		{"calls in a loop", `{{ define "a" }}{{ end }}{{ range 100000 }}{{ template "a" }}{{ end }}`, steps},

		{"output", `{{ range 30 }}` + strings.Repeat("x", 50000) + `{{ end }}`, made},
		{"output of functions", `{{ $x := print .Fields.part .Fields.part }}{{ range 20 }}{{ $x }}{{ end }}`, made},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, opt("details", tt.text), opt("autoAttributes", ""))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			var got []change
			for i := range 2 {
				got = append(got, r.send(at(float64(i), fmt.Sprint("id", i), "CRITICAL").with("n", math.MaxInt64).with("big", big).with("part", big[:50<<10]))...)
			}
			took := time.Since(begin) / 2
			runtime.ReadMemStats(&after)
			if took > time.Duration(test.Volume(2, 20))*time.Second { // a thousand times over
				t.Errorf("a point took %s", took)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
				t.Errorf("two points took %d bytes of memory", n)
			}
			t.Logf("%-30s %s %d KiB", tt.name, took, (after.TotalAlloc-before.TotalAlloc)>>11)
			for _, c := range got {
				if d, there := c.properties["details"]; there {
					t.Errorf("details are there: %.100q", d)
				}
			}
			r.wantLogged(1, "level=ERROR", "a template failed", "option=details", tt.want)
			r.h.Stop()
			r.wantLogged(1, "failed_templates=2", "changes=2")
		})
	}
}

// What templates are written for is within the budget, on each point anew.
func TestTemplatesWithinTheirBudget(t *testing.T) {
	t.Parallel()
	const list = `<table>{{ range $k, $v := .Tags }}{{ if and (ne $k "host") (gt (len $v) 2) }}<tr><td>{{ html $k }}</td><td>{{ $v | printf "%-10s" | html }}</td></tr>{{ end }}{{ end }}</table>`
	r := start(t, opt("details", list), opt("attribute", "long", "{{ html .Fields.long }}"),
		opt("attribute", "count", "{{ range 1000 }}{{ . }},{{ end }}"), opt("attribute", "at", `{{ index .Tags "format" | .Time.Format }}`))
	p := at(0, "id", "CRITICAL").with("long", strings.Repeat("x", 100<<10)).tagged("format", "15:04")
	for i := range 200 {
		p = p.tagged(fmt.Sprint("tag", i), "<value>")
	}
	for i := range 20 {
		level := []string{"CRITICAL", "WARNING"}[i%2]
		c := r.one(p.with("level", level))
		if got := c.properties["details"]; strings.Count(got, "<tr>") != 201 || !strings.Contains(got, "&lt;value&gt;") {
			t.Fatalf("details %.200q", got)
		}
		if len(c.properties["long"]) != 100<<10 || len(c.properties["count"]) != 3890 || c.properties["at"] != "22:13" {
			t.Fatalf("long %d, count %d, at %q", len(c.properties["long"]), len(c.properties["count"]), c.properties["at"])
		}
	}
	r.wantLogged(0, "a template failed")
}

// P2: a template that cannot be executed at all fails Init.
func TestTemplatesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"too long", strings.Repeat("{{ if true }}", 100_000) + strings.Repeat("{{ end }}", 100_000), "longer than 65536 bytes"},
		{"calls itself", `{{ template "" . }}{{ template "" . }}`, "a template without a name is called"},
		{"gives itself more", "{{ _step -1000 }}", `function "_step" not defined`},
	} {
		if got := newRig(t).tryInit(opt("message", tt.text)); !strings.Contains(got, tt.want) || !strings.Contains(got, "message") {
			t.Errorf("%s: %.300s", tt.name, got)
		}
	}
}
