package counters

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
)

// ones sets every number to 1, those of arrays too, and a map's of one key.
func ones(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			ones(v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			ones(v.Index(i))
		}
	case reflect.Int:
		v.SetInt(1)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]int{Accepted: 1}))
	default:
		panic(v.Kind())
	}
}

// A counter that is new is added, too, and what others holds stays as it is.
func TestAdd(t *testing.T) {
	t.Parallel()
	var one, zero, sum Counters
	ones(reflect.ValueOf(&one).Elem())
	sum.Add(one)
	if !reflect.DeepEqual(sum, one) {
		t.Errorf("nothing and %+v make %+v", one, sum)
	}
	sum.Add(one)
	text, err := json.Marshal(sum)
	if err != nil {
		t.Fatal(err)
	}
	var numbers map[string]any
	if err := json.Unmarshal(text, &numbers); err != nil {
		t.Fatal(err)
	}
	if want := reflect.TypeFor[Input]().NumField() + reflect.TypeFor[Output]().NumField() + reflect.TypeFor[Queue]().NumField(); len(numbers) != want {
		t.Errorf("%d counters are kept, want %d: %s", len(numbers), want, text)
	}
	all(numbers, func(n float64) {
		if n != 2 {
			t.Errorf("one and one make %v: %s", n, text)
		}
	})
	sum.Add(zero)
	if one.Requests[Accepted] != 1 {
		t.Errorf("adding has changed what was added: %+v", one)
	}
	if again, err := json.Marshal(sum); err != nil || string(again) != string(text) {
		t.Errorf("with nothing added %s is %s (%v)", text, again, err)
	}
}

// all calls each with every number in a value of JSON.
func all(v any, each func(float64)) {
	switch v := v.(type) {
	case float64:
		each(v)
	case map[string]any:
		for _, below := range v {
			all(below, each)
		}
	case []any:
		for _, below := range v {
			all(below, each)
		}
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		took   time.Duration
		bucket int
		sum    float64
	}{
		{0, 0, 0},
		{-time.Hour, 0, 0}, // the clock was set back
		{500 * time.Microsecond, 0, .0005},
		{501 * time.Microsecond, 1, .000501},
		{time.Hour, len(Buckets) - 1, 3600},
		{time.Hour + 1, len(Buckets), 3600},
		{math.MaxInt64, len(Buckets), 9223372036.854775807},
	} {
		var h Histogram
		h.Observe(tt.took)
		if h.Counts[tt.bucket] != 1 || math.Abs(h.Sum-tt.sum) > 1e-6 {
			t.Errorf("%s is counted as %+v", tt.took, h)
		}
	}
}
