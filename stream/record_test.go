package stream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bigpanda-udf/outbox"
)

func FuzzHoles(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("AQAB"))
	text, _ := holes{{3, 9, 4}, {11, 1 << 60, 2}}.MarshalText()
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var h holes
		if h.UnmarshalText(text) != nil {
			return
		}
		end := uint64(0)
		for _, one := range h {
			if one.from <= end || one.to < one.from {
				t.Fatalf("not ascending: %v", h)
			}
			end = one.to
		}
		again, err := h.MarshalText()
		var got holes
		if err != nil || got.UnmarshalText(again) != nil || !slices.Equal(got, h) {
			t.Fatalf("%v becomes %v", h, got)
		}
	})
}

func TestRecordIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", `{"app_keys":{"a":"!"}}`, `{"app_keys":{"a":"AAAA"}}`, `{"epoch":-1}`, string(make([]byte, maxRecord+1))} {
		if _, err := decodeRecord([]byte(text)); err == nil {
			t.Errorf("%.40q is taken", text)
		}
	}
}

// What a record says that cannot be is left out; that it is of a later version shows.
func TestRecordOfOthers(t *testing.T) {
	t.Parallel()
	token := hash([]byte("k"))
	text, _ := holes{{3, 5, 99}, {9, 30, 7}, {40, 41, 2}}.MarshalText()
	record := fmt.Sprintf(`{"owner":"o","epoch":7,"read":20,"app_keys":{%q:%q,">":%[2]q,"a.b":%[2]q,"":%[2]q},"later":[1]}`, token, text)
	got, err := decodeRecord([]byte(record))
	if want := (holes{{3, 5, 3}, {9, 20, 7}}); err != nil || got.Epoch != 7 || len(got.AppKeys) != 1 || !slices.Equal(got.AppKeys[token], want) {
		t.Errorf("it is read as %+v (%v)", got, err)
	}
	if _, err := decodeRecord(got.encode()); err != nil {
		t.Errorf("written again it is: %v", err)
	}
	got, err = decodeRecord([]byte(`{"app_keys":["new"],"epoch":8,"owner":"later"}`))
	if err == nil || got.Epoch != 8 || got.Owner != "later" {
		t.Errorf("of a later version it is %+v (%v)", got, err)
	}
}

// A modelMessage is what a model knows of a message of the stream.
type modelMessage struct {
	seq  uint64
	done bool
}

// P5: whatever comes in which order, what the record does not call undelivered was
// delivered, and the next owner reads on where this one ends. It calls nothing
// undelivered that is delivered, either, as long as it has room for that.
func TestProgress(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		p := newProgress(leaseRecord{})
		messages := make(map[string][]modelMessage)
		appKeys := []string{"a", "b", "c"}[:1+random.IntN(3)]
		for range 400 {
			token := appKeys[random.IntN(len(appKeys))]
			b := p.backlog(token)
			switch random.IntN(5) {
			case 0, 1: // the next message, in memory or not
				p.read++
				messages[token] = append(messages[token], modelMessage{seq: p.read})
				if len(b.left) > 0 || random.IntN(4) == 0 {
					b.leave(p.read)
				} else {
					p.load(b, p.read, 1)
				}
			case 2: // some of what is in memory is delivered
				var ids []uint64
				for id := range p.loaded {
					if random.IntN(3) == 0 {
						ids = append(ids, id)
					}
				}
				p.done(ids)
				for _, all := range messages {
					for i := range all {
						all[i].done = all[i].done || slices.Contains(ids, all[i].seq)
					}
				}
			case 3: // what was left is read, from where it begins
				if len(b.left) == 0 {
					p.tidy(b)
					break
				}
				from := b.left[0].from
				for _, m := range messages[token] {
					if m.seq < from || len(b.left) == 0 {
						continue
					}
					undelivered, gone := p.reread(b, m.seq, 1)
					if undelivered == m.done || gone != 0 {
						t.Fatalf("seed %d: message %d of %s is done: %v, reread: %v, %d gone", seed, m.seq, token, m.done, undelivered, gone)
					}
					if random.IntN(5) == 0 {
						break
					}
				}
			case 4:
				if random.IntN(10) == 0 { // a failover
					var record leaseRecord
					p.fill(&record)
					record, err := decodeRecord(record.encode())
					if err != nil {
						t.Fatal(err)
					}
					p = newProgress(record)
				}
			}
			checkProgress(t, seed, &p, messages)
		}
	}
}

func checkProgress(t *testing.T, seed uint64, p *progress, messages map[string][]modelMessage) {
	t.Helper()
	var record leaseRecord
	p.fill(&record)
	for token, all := range messages {
		waiting := uint64(0)
		for _, m := range all {
			in := slices.ContainsFunc(record.AppKeys[token], func(h hole) bool { return h.from <= m.seq && m.seq <= h.to })
			if in == m.done {
				t.Fatalf("seed %d: message %d of %s is done: %v, in a hole: %v: %v", seed, m.seq, token, m.done, in, record.AppKeys[token])
			}
			if !m.done {
				waiting++
			}
		}
		if n := record.undelivered(token); n != waiting {
			t.Fatalf("seed %d: %d of %s are said to be undelivered, want %d", seed, n, token, waiting)
		}
	}
	bytes := 0
	for _, b := range p.appKeys {
		bytes += len(b.memory)
	}
	if bytes != p.bytes || bytes != len(p.loaded) {
		t.Fatalf("seed %d: %d are in memory, %d bytes, %d are known", seed, bytes, p.bytes, len(p.loaded))
	}
}

// The record stays small, whatever is undelivered.
func TestRecordSize(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		done func(seq uint64) bool // of the odd ones, all even ones are of another app key
		most int
	}{
		{"an app key is held", func(uint64) bool { return false }, 300},
		{"every tenth alert fails", func(seq uint64) bool { return seq%20 != 1 }, 6 << 10},
		{"every second one", func(seq uint64) bool { return seq%4 == 1 }, 12 << 10},
	}
	for _, tt := range tests {
		p := newProgress(leaseRecord{})
		var done []uint64
		for range 20_000 {
			p.load(p.backlog("other"), p.read+2, 1)
			p.load(p.backlog("held"), p.read+1, 1)
			done = append(done, p.read+2)
			if tt.done(p.read + 1) {
				done = append(done, p.read+1)
			}
			p.read += 2
		}
		p.done(done)
		record := leaseRecord{Owner: "host/123-abcd", Epoch: 3, Since: time.Now()}
		p.fill(&record)
		size := len(record.encode())
		t.Logf("%s: %d bytes, %d holes", tt.name, size, len(record.AppKeys["held"]))
		if size > tt.most {
			t.Errorf("%s: the record has %d bytes, want %d at most", tt.name, size, tt.most)
		}
		if n := record.deliveredTo("other"); n != 40_000 {
			t.Errorf("%s: the other app key is delivered up to %d", tt.name, n)
		}
	}
}

// P5, P7: however many app keys are held, as somebody makes up who may publish, the
// servers take the record, what is in memory is bounded, and nothing undelivered is left
// out.
func TestManyAppKeys(t *testing.T) {
	t.Parallel()
	const appKeys, each = 6_000, 4
	q := newQueue(leaseRecord{}, nil)
	for seq := uint64(1); seq <= appKeys*each; seq++ {
		token := hash(fmt.Append(nil, seq%appKeys))
		q.admit(token, outbox.Change{ID: seq, Alert: fmt.Sprint("alert", seq), AppKey: token, Payload: make([]byte, 4000)}, time.Now())
	}
	if most := memoryBytes + appKeys*5000; q.bytes > most {
		t.Errorf("%d bytes are in memory, want %d at most", q.bytes, most)
	}
	q.mu.Lock()
	q.done([]uint64{1, 2, 4}) // of app keys that have more
	q.mu.Unlock()
	r := q.known()
	if size := len(r.encode()); size > 512<<10 {
		t.Errorf("the record has %d bytes", size)
	}
	if r.Read != 2 || !r.ReadAt.IsZero() {
		t.Errorf("it says that all is delivered up to %d, read at %v", r.Read, r.ReadAt)
	}
}

// P7: however many app keys are held, what is in memory is bounded, and each has some.
func TestQueueMemory(t *testing.T) {
	t.Parallel()
	q := newQueue(leaseRecord{}, nil)
	const appKeys, each = 30, 4000
	seq := uint64(0)
	for k := range appKeys {
		token := fmt.Sprint(k)
		for range each {
			seq++
			q.admit(token, outbox.Change{ID: seq, Alert: fmt.Sprint("alert", seq), AppKey: token, Payload: make([]byte, 600)}, time.Now())
		}
	}
	if most := memoryBytes + appKeys*leastBytes; q.bytes > most {
		t.Errorf("%d bytes are in memory, want %d at most", q.bytes, most)
	}
	for token, b := range q.appKeys {
		if b.bytes < leastBytes {
			t.Errorf("app key %s has %d bytes", token, b.bytes)
		}
	}
	t.Logf("of %d MB %d MB are in memory", appKeys*each*1000>>20, q.bytes>>20)
}
