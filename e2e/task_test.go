package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Where tasks listen and points are written unless a test says otherwise.
const (
	database  = "telegraf"
	retention = "autogen"
)

// task is what "kapacitor show" shows of a task, as far as the tests look.
type task struct {
	Status    string `json:"status"`
	Executing bool   `json:"executing"`
	Error     string `json:"error"`
	Stats     struct {
		Nodes map[string]map[string]any `json:"node-stats"`
	} `json:"stats"`
}

// define creates a stream task and enables it.
func (k *kapacitor) define(id, script string) {
	k.t.Helper()
	k.defineOn(id, database, script)
}

// defineOn is define for a task that listens to another database.
func (k *kapacitor) defineOn(id, db, script string) {
	k.t.Helper()
	k.call(http.MethodPost, "/tasks", map[string]any{
		"id":     id,
		"type":   "stream",
		"dbrps":  []map[string]string{{"db": db, "rp": retention}},
		"script": script,
		"status": "enabled",
	})
}

// enable and disable start and stop a task that is defined.
func (k *kapacitor) enable(id string)  { k.t.Helper(); k.setStatus(id, "enabled") }
func (k *kapacitor) disable(id string) { k.t.Helper(); k.setStatus(id, "disabled") }

func (k *kapacitor) setStatus(id, status string) {
	k.t.Helper()
	k.call(http.MethodPatch, "/tasks/"+id, map[string]any{"status": status})
}

// delete stops a task and forgets it, with the state of its alerts.
func (k *kapacitor) delete(id string) {
	k.t.Helper()
	k.call(http.MethodDelete, "/tasks/"+id, nil)
}

// show returns a task as it is now.
func (k *kapacitor) show(id string) task {
	k.t.Helper()
	var shown task
	answer := k.call(http.MethodGet, "/tasks/"+id, nil)
	if err := json.Unmarshal(answer, &shown); err != nil {
		k.t.Fatalf("read task %s: %v", id, err)
	}
	return shown
}

// write sends points in line protocol with times in nanoseconds, all in one
// request.
func (k *kapacitor) write(lines ...string) {
	k.t.Helper()
	k.writeOn(database, lines...)
}

// writeOn is write to another database.
func (k *kapacitor) writeOn(db string, lines ...string) {
	k.t.Helper()
	query := url.Values{"db": {db}, "rp": {retention}}.Encode()
	k.send(http.MethodPost, "/write?"+query, strings.NewReader(strings.Join(lines, "\n")))
}

// waitForOutput waits until the text is in what the task's httpOut node of the
// name shows.
func (k *kapacitor) waitForOutput(id, name, text string) {
	k.t.Helper()
	k.eventually(fmt.Sprintf("%s of task %s shows %s", name, id, text), func() string {
		shown, err := k.try(http.MethodGet, "/tasks/"+id+"/"+name, nil)
		switch {
		case err != nil: // the node begins with its first point
			return err.Error()
		case !bytes.Contains(shown, []byte(text)):
			return string(shown)
		}
		return ""
	})
}

// waitForError waits until the task has ended with an error, and returns it.
func (k *kapacitor) waitForError(id string) string {
	k.t.Helper()
	var shown task
	k.eventually("task "+id+" has an error", func() string {
		shown = k.show(id)
		if shown.Error == "" || shown.Executing {
			return fmt.Sprintf("executing %t, error %q", shown.Executing, shown.Error)
		}
		return ""
	})
	return shown.Error
}

// call sends a request with a JSON body, if body is not nil.
func (k *kapacitor) call(method, path string, body any) []byte {
	k.t.Helper()
	if body == nil {
		return k.send(method, path, nil)
	}
	text, err := json.Marshal(body)
	if err != nil {
		k.t.Fatal(err)
	}
	return k.send(method, path, bytes.NewReader(text))
}

// send sends a request and returns the answer's body. An answer that is not a
// success fails the test.
func (k *kapacitor) send(method, path string, body io.Reader) []byte {
	k.t.Helper()
	text, err := k.try(method, path, body)
	if err != nil {
		k.t.Fatal(err)
	}
	return text
}

func (k *kapacitor) try(method, path string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequest(method, k.url+path, body)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: patience}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if answer.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return text, nil
}
