package outbox

import (
	"encoding/json"
	"testing"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/test"

	bolt "go.etcd.io/bbolt"
)

// letters are the dead letters on disk, oldest first.
func (r *rig) letters() (all []DeadLetter) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.store.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketDead).ForEach(func(_, v []byte) error {
			var l DeadLetter
			all = append(all, l)
			return json.Unmarshal(v, &all[len(all)-1])
		})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func TestDeadLettersAreKept(t *testing.T) { // P5
	t.Parallel()
	dir := test.MemoryDir(t)
	now := time.Unix(1_800_000_000, 0)
	clock := func(o *Options) { o.Now = func() time.Time { return now } }
	r := openIn(t, dir, clock)
	r.put(7, "a", "b")
	r.put(8, "a")
	inFlight := r.next(2)
	if err := r.Dead(inFlight[0], 422, "no such thing"); err != nil {
		t.Fatal(err)
	}
	r.close()
	r = openIn(t, dir, clock)
	r.want("b#7 a#8")
	letters := r.letters()
	if len(letters) != 1 || letters[0].ID != inFlight[0].ID || string(letters[0].Payload) != "a#7" || letters[0].Time != 7 ||
		letters[0].Status != 422 || letters[0].Answer != "no such thing" || letters[0].Died != now.Unix() {
		t.Errorf("got %+v", letters)
	}
}

func TestDeadLettersAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	tests := []struct {
		name string
		many int
		died time.Duration // of those that are there, before now
		want int
	}{
		{"in number, the oldest go", maxDeadLetters + 50, time.Hour, maxDeadLetters},
		{"below the number all stay", 50, maxDeadLetterAge, 51},
		{"in age", 50, maxDeadLetterAge + time.Second, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := openIn(t, test.MemoryDir(t), func(o *Options) { o.Now = func() time.Time { return now } })
			r.mu.Lock()
			err := r.store.update(func(tx *bolt.Tx) error {
				for id := range tt.many {
					value, err := json.Marshal(DeadLetter{Change: Change{ID: uint64(id + 1)}, Died: now.Add(-tt.died).Unix()})
					if err != nil {
						return err
					}
					if err := tx.Bucket(bucketDead).Put(boltfile.EncodeID(uint64(id+1)), value); err != nil {
						return err
					}
				}
				return nil
			})
			r.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			r.put(1, "a")
			last := r.next(1)[0]
			if err := r.Dead(last, 400, "no"); err != nil {
				t.Fatal(err)
			}
			letters := r.letters()
			if len(letters) != tt.want || letters[len(letters)-1].ID != last.ID {
				t.Errorf("%d are kept, want %d, the last is %d", len(letters), tt.want, letters[len(letters)-1].ID)
			}
		})
	}
}
