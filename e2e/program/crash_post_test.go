package program

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// A crashTopic is what Kapacitor knows of a topic's events, by id, and keeps over the
// end of a daemon.
type crashTopic map[string]crashState

type crashState struct {
	level string
	began time.Time // of the incident
}

var listensForEvents = regexp.MustCompile(`msg=listening socket=(\S+) edge=http`)

// launchPoster starts a daemon, and posts to it, as Kapacitor does, an event for each
// point that is written to the function's In. The point comes back on Out when the
// event was taken. An event without an answer is never posted again.
func launchPoster(t testing.TB, environment []string, task string, topic crashTopic) *test.Function {
	t.Helper()
	cmd := test.Command(environment, "serve", "--http", "127.0.0.1:0")
	f := &test.Function{Cmd: cmd, Log: new(test.LogBuffer), Raw: new(test.LogBuffer), T: t}
	cmd.Stderr = f.Log
	var files [6]*os.File
	for i := 0; i < len(files); i += 2 {
		var err error
		if files[i], files[i+1], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	}
	in, out, lives := files[0], files[3], files[4]
	posted := make(chan struct{})
	f.In, f.Out = posterInput{files[1], f, posted}, files[2]
	cmd.ExtraFiles = []*os.File{files[5]} // which ends with the process
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	files[5].Close()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		for _, file := range files[:5] {
			file.Close()
		}
	})
	gone := make(chan struct{}) // the daemon is
	go func() {
		io.Copy(io.Discard, lives)
		close(gone)
		in.Close()
		out.Close()
	}()
	go func() {
		defer close(posted)
		r := bufio.NewReader(in)
		var buffer []byte
		for {
			request := new(agent.Request)
			if agent.ReadMessage(&buffer, r, request) != nil {
				return
			}
			response := new(agent.Response)
			switch {
			case request.GetInit() != nil:
				response.Message = &agent.Response_Init{Init: &agent.InitResponse{Success: true}}
			case request.GetPoint() != nil:
				if !post(f, gone, task, topic.event(request.GetPoint())) {
					continue
				}
				response.Message = &agent.Response_Point{Point: request.GetPoint()}
			default:
				continue
			}
			data, err := proto.Marshal(response)
			if err != nil {
				panic(err)
			}
			out.Write(test.Framed(data)) // an error: it was killed
		}
	}()
	return f
}

// posterInput is In of a poster. Its end is that of the daemon, and nothing is posted
// any more then.
type posterInput struct {
	*os.File
	f      *test.Function
	posted <-chan struct{} // closed when the last event was
}

func (p posterInput) Close() error {
	p.f.Cmd.Process.Signal(syscall.SIGTERM)
	err := p.File.Close()
	<-p.posted
	return err
}

// event is what the alert node makes of a point, as the post handler sends it.
func (c crashTopic) event(p *agent.Point) map[string]any {
	id, level, at := p.Tags["alertID"], p.FieldsString["level"], time.Unix(0, p.Time).UTC()
	before, known := c[id]
	var duration time.Duration
	if !known || before.level == "OK" {
		before = crashState{"OK", at}
	} else {
		duration = at.Sub(before.began) + 1 // the points of a test may share a second
	}
	c[id] = crashState{level, before.began}
	return map[string]any{
		"id": id, "message": p.FieldsString["message"], "details": "", "time": at, "duration": duration, "level": level, "previousLevel": before.level,
		"data": map[string]any{"series": []any{map[string]any{
			"name": p.Name, "tags": map[string]string{"host": p.Tags["host"]},
			"columns": []string{"time", "seq"}, "values": [][]any{{at, p.FieldsInt["seq"]}},
		}}},
	}
}

// post reports whether an event was taken.
func post(f *test.Function, gone <-chan struct{}, task string, e map[string]any) bool {
	found := listensForEvents.FindStringSubmatch(f.Log.String())
	for late := time.Now().Add(test.Patient); found == nil && time.Now().Before(late); {
		select {
		case <-gone:
			return false
		case <-time.After(time.Millisecond):
		}
		found = listensForEvents.FindStringSubmatch(f.Log.String())
	}
	body, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	if found == nil {
		return false
	}
	answer, err := http.Post(fmt.Sprintf("http://%s/alerts/%s", found[1], task), "application/json", bytes.NewReader(body))
	if err != nil {
		return false // it was killed
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		f.T.Errorf("an event of %s was answered %s: %s", task, answer.Status, text)
		return false
	}
	return true
}
