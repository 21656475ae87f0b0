package wire

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A talker is a handler that makes its own data: its recorder, neither Mirror
// nor more, sends on Responses.
type talker struct {
	agent.Handler
	*recorder
	responses chan *agent.Response
	sends     map[string][]*agent.Response // by event, before the method returns
	closes    string                       // the event at which it closes Responses
	log       bytes.Buffer
}

// newTalker makes a talker that closes Responses in Stop.
func newTalker(buffer int, sends map[string][]*agent.Response) *talker {
	r := &recorder{}
	k := &talker{Handler: plain{r}, recorder: r, responses: make(chan *agent.Response, buffer), sends: sends, closes: "stop"}
	r.onEvent = k.talk
	return k
}

func (k *talker) talk(event string) {
	for _, res := range k.sends[event] {
		k.responses <- res
	}
	if event == k.closes {
		close(k.responses)
	}
}

// run serves the talker, with Commit if it is to have one.
func (k *talker) run(t testing.TB, in io.Reader, out io.Writer, commits bool) error {
	var h agent.Handler = k.Handler
	if commits {
		h = struct {
			agent.Handler
			Committer
		}{k.Handler, k.recorder}
	}
	return Run(t.Context(), h, in, out, Options{Responses: k.responses, Log: slog.New(slog.NewTextHandler(&k.log, nil))})
}

// sent is a point of the handler's own making.
func sent(time int64) *agent.Response {
	return &agent.Response{Message: &agent.Response_Point{Point: point(time).GetPoint()}}
}

// notUTF8 is a response that protobuf does not encode.
func notUTF8() *agent.Response {
	return &agent.Response{Message: &agent.Response_Point{Point: &agent.Point{Time: 66, Tags: map[string]string{"host": "\xff"}}}}
}

func TestRunPutsResponsesBeforeTheAnswerOfTheirMethod(t *testing.T) {
	in := frames(info(), initTask("x"), restore(nil), point(1), keepalive(7), begin("b"), point(2), end("b"), snapshot(), keepalive(8))
	sends := map[string][]*agent.Response{
		"init x":    {sent(10)},
		"restore 0": {sent(11), sent(12)},
		"point 1":   {sent(13), sent(14), sent(15)},
		"begin b":   {{Message: &agent.Response_Begin{Begin: &agent.BeginBatch{Name: "own"}}}},
		"point 2":   {sent(16)},
		"end b":     {{Message: &agent.Response_End{End: &agent.EndBatch{Name: "own"}}}},
		"snapshot":  {sent(17), sent(18)},
		"stop":      {sent(19), sent(20)},
	}
	want := []string{"info", "point 10", "init true ", "point 11", "point 12", "restore true ",
		"point 13", "point 14", "point 15", "keepalive 7", "begin own", "point 16", "end own",
		"point 17", "point 18", "snapshot 0", "keepalive 8", "point 19", "point 20"}
	for _, c := range []struct {
		name   string
		buffer int
	}{
		{"a channel without a buffer", 0}, {"one of one", 1}, {"one that holds everything", 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 50 { // order that is left to chance is right now and then
				k := newTalker(c.buffer, sends)
				var out bytes.Buffer
				if err := k.run(t, bytes.NewReader(in), &out, false); err != nil {
					t.Fatal(err)
				}
				equal(t, "output", describe(t, out.Bytes()), want)
				if k.log.Len() > 0 || t.Failed() {
					t.Fatalf("log: %s", &k.log)
				}
			}
		})
	}
}

func TestRunPutsResponsesBeforeTheErrorOfTheirMethod(t *testing.T) {
	broken := errors.New("it broke")
	k := newTalker(0, map[string][]*agent.Response{"point 1": {sent(10), sent(11)}, "stop": {sent(12)}})
	k.fail = map[string]error{"point 1": broken}
	var out bytes.Buffer
	if err := k.run(t, bytes.NewReader(frames(initTask("x"), point(1), point(2))), &out, false); err != broken {
		t.Errorf("Run returned %v", err)
	}
	equal(t, "output", describe(t, out.Bytes()), []string{"init true ", "point 10", "point 11", "point 12", "error it broke"})
}

func TestRunServesAHandlerThatClosesResponsesEarly(t *testing.T) {
	k := newTalker(0, map[string][]*agent.Response{"point 1": {sent(10)}})
	k.closes = "point 1"
	var out bytes.Buffer
	if err := k.run(t, bytes.NewReader(frames(initTask("x"), point(1), keepalive(7), point(2), snapshot())), &out, false); err != nil {
		t.Error(err)
	}
	equal(t, "output", describe(t, out.Bytes()), []string{"init true ", "point 10", "keepalive 7", "snapshot 0"})
	equal(t, "handler", k.seen(), []string{"init x", "point 1", "point 2", "snapshot", "stop"})
	if k.log.Len() > 0 {
		t.Errorf("log: %s", &k.log)
	}
}

// P8: leaving is bounded whatever the handler does with Responses, and what it
// sends while it leaves is not lost.
func TestRunWaitsForResponsesToBeClosed(t *testing.T) {
	const soon = DefaultGrace / 2
	for _, c := range []struct {
		name   string
		stop   func(k *talker)
		took   time.Duration
		want   []string
		warned bool
	}{
		{"never", func(*talker) {}, DefaultGrace, nil, true},
		{"after Stop", func(k *talker) {
			go func() {
				time.Sleep(soon)
				k.responses <- sent(10)
				close(k.responses)
			}()
		}, soon, []string{"point 10"}, false},
		{"at the end of a Stop that takes longer than the grace", func(k *talker) {
			time.Sleep(2 * DefaultGrace)
			k.responses <- sent(10)
			k.responses <- sent(11)
			close(k.responses)
		}, 2 * DefaultGrace, []string{"point 10", "point 11"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 20 {
				synctest.Test(t, func(t *testing.T) {
					k := newTalker(2, nil)
					k.closes = ""
					k.onEvent = func(event string) {
						if event == "stop" {
							c.stop(k)
						}
					}
					var out bytes.Buffer
					start := time.Now()
					if err := k.run(t, bytes.NewReader(frames(initTask("x"), keepalive(7))), &out, false); err != nil {
						t.Error(err)
					}
					if d := time.Since(start); d != c.took {
						t.Errorf("Run ended after %v, want %v", d, c.took)
					}
					equal(t, "output", describe(t, out.Bytes()), append([]string{"init true ", "keepalive 7"}, c.want...))
					if warned := strings.Contains(k.log.String(), "did not close Responses"); warned != c.warned {
						t.Errorf("log: %q", &k.log)
					}
				})
			}
		})
	}
}

// A response that cannot be encoded would be a hole in the data: Run ends like
// after an error of the handler.
func TestRunEndsWithAResponseThatCannotBeEncoded(t *testing.T) {
	const want = "encode what the handler sent: string field contains invalid UTF-8"
	for _, c := range []struct {
		name  string
		sends map[string][]*agent.Response
		open  bool // the input stays open and silent
		out   []string
	}{
		{"while the input is silent", map[string][]*agent.Response{"point 1": {sent(10), notUTF8()}}, true, []string{"init true ", "point 10"}},
		{"with the end of the input", map[string][]*agent.Response{"point 1": {sent(10), notUTF8()}}, false, []string{"init true ", "point 10"}},
		{"in Stop", map[string][]*agent.Response{"point 1": {sent(10)}, "stop": {notUTF8()}}, false, []string{"init true ", "point 10"}},
		{"more than one", map[string][]*agent.Response{"point 1": {notUTF8(), notUTF8()}, "stop": {notUTF8()}}, false, []string{"init true "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 20 {
				synctest.Test(t, func(t *testing.T) {
					k := newTalker(0, c.sends)
					in, peer := io.Pipe()
					defer in.Close() // frees the Read that was left behind
					go func() {
						_, _ = peer.Write(frames(initTask("x"), point(1)))
						if !c.open {
							_ = peer.Close()
						}
					}()
					var out bytes.Buffer
					err := k.run(t, in, &out, false)
					if err == nil || plainSpaces(err.Error()) != want {
						t.Fatalf("Run returned %v", err)
					}
					got := describe(t, out.Bytes())
					got[len(got)-1] = plainSpaces(got[len(got)-1])
					equal(t, "output", got, append(slices.Clone(c.out), "error "+want))
					if k.count("stop") != 1 {
						t.Error("no Stop")
					}
				})
			}
		})
	}
}

// badInfo names an option in bytes that are no UTF-8, which protobuf refuses.
type badInfo struct{ *recorder }

func (badInfo) Info() (*agent.InfoResponse, error) {
	return &agent.InfoResponse{Options: map[string]*agent.OptionInfo{"\xff": {}}}, nil
}

func TestRunEndsWithAnAnswerThatCannotBeEncoded(t *testing.T) {
	const want = "encode answer to frame 3: string field contains invalid UTF-8"
	out, err := serve(t, badInfo{&recorder{}}, bytes.NewReader(frames(initTask("x"), point(1), info(), point(2))))
	if err == nil || plainSpaces(err.Error()) != want {
		t.Fatalf("Run returned %v", err)
	}
	got := describe(t, out)
	got[len(got)-1] = plainSpaces(got[len(got)-1])
	equal(t, "output", got, []string{"init true ", "point 1", "error " + want})
}

// P4: answers wait for Commit, and come after what Commit sends; what the
// handler sends goes out at once.
func TestRunCommitsBeforeTheAnswersAmongResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTalker(0, map[string][]*agent.Response{"point 1": {sent(10)}, "snapshot": {sent(11)}})
		commit := make(chan struct{})
		k.onEvent = func(event string) {
			if event == "commit" {
				<-commit
				k.responses <- sent(20)
			}
			k.talk(event)
		}
		var out bytes.Buffer // written only while synctest.Wait has all others wait
		in := &chunks{frames(point(1), snapshot(), point(2))}
		ended := make(chan error, 1)
		go func() { ended <- k.run(t, in, &out, true) }()
		synctest.Wait()
		equal(t, "output during the first commit", describe(t, out.Bytes()), []string{"point 10", "point 11"})
		commit <- struct{}{}
		synctest.Wait()
		equal(t, "output during the second", describe(t, out.Bytes()), []string{"point 10", "point 11", "point 20", "snapshot 0"})
		close(commit)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		equal(t, "output", describe(t, out.Bytes()), []string{"point 10", "point 11", "point 20", "snapshot 0", "point 20"})
		equal(t, "handler", k.seen(), []string{"point 1", "snapshot", "commit", "point 2", "commit", "stop"})
	})
}
