package bigpanda

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"bigpanda-udf/test"
)

func TestApply(t *testing.T) {
	t.Parallel()
	type props = map[string]string
	cpu := Identity{AppKey: "k", Primary: "host", PrimaryValue: "a", Secondary: "check", SecondaryValue: "c"}
	tests := []struct {
		name string
		as   Identity
		in   Payload
		want Payload
	}{
		{"nothing changes when it is the alert already", cpu,
			Payload{AppKey: "k", Status: "ok", Properties: props{"device": "a", "sensor": "c", "host": ""}},
			Payload{AppKey: "k", Status: "ok", Properties: props{"device": "a", "sensor": "c", "host": ""}}},
		{"not even a nil map", Identity{AppKey: "k"}, Payload{AppKey: "k"}, Payload{AppKey: "k"}},
		{"a changed primary value is put back", cpu,
			Payload{AppKey: "k", Status: "ok", Timestamp: 7, Properties: props{"host": "b", "check": "c", "x": "y"}},
			Payload{AppKey: "k", Status: "ok", Timestamp: 7, Properties: props{"host": "a", "check": "c", "x": "y"}}},
		{"a changed secondary value is put back", cpu,
			Payload{AppKey: "k", Properties: props{"host": "a", "check": "d"}},
			Payload{AppKey: "k", Properties: props{"host": "a", "check": "c"}}},
		{"a changed app key is put back", cpu,
			Payload{AppKey: "l", Properties: props{"host": "a", "check": "c"}},
			Payload{AppKey: "k", Properties: props{"host": "a", "check": "c"}}},
		{"an empty payload gets all of it", cpu, Payload{},
			Payload{AppKey: "k", Properties: props{"host": "a", "check": "c"}}},
		{"a changed incident identifier is put back", Identity{AppKey: "k", Incident: "i", Primary: "host", PrimaryValue: "a"},
			Payload{AppKey: "k", Properties: props{"incident_identifier": "j", "host": "b"}},
			Payload{AppKey: "k", Properties: props{"incident_identifier": "i", "host": "b"}}},
		{"an incident identifier that was not there is removed", cpu,
			Payload{AppKey: "k", Properties: props{"incident_identifier": "j", "host": "a", "check": "c"}},
			Payload{AppKey: "k", Properties: props{"host": "a", "check": "c"}}},
		{"another property that would win is kept, but does not win",
			Identity{AppKey: "k", Primary: "service", PrimaryValue: "s", Secondary: "sensor", SecondaryValue: "x"},
			Payload{AppKey: "k", Properties: props{"service": "s", "host": "h", "sensor": "x", "check": "c"}},
			Payload{AppKey: "k", Properties: props{"service": "s", "host": "h", "sensor": "x", "check": "c", "primary_property": "service", "secondary_property": "sensor"}}},
		{"a chosen property that came later does not win", cpu,
			Payload{AppKey: "k", Properties: props{"host": "a", "check": "c", "primary_property": "x", "x": "y"}},
			Payload{AppKey: "k", Properties: props{"host": "a", "check": "c", "primary_property": "host", "x": "y"}}},
		{"a secondary property that was not there is removed",
			Identity{AppKey: "k", Primary: "host", PrimaryValue: "a"},
			Payload{AppKey: "k", Properties: props{"host": "a", "check": "c", "sensor": "s", "secondary_property": "x", "x": "y"}},
			Payload{AppKey: "k", Properties: props{"host": "a", "x": "y"}}},
		{"a primary property that was not there is removed",
			Identity{AppKey: "k", Secondary: "check", SecondaryValue: "c"},
			Payload{AppKey: "k", Properties: props{"host": "a", "device": "d", "check": "c", "primary_property": "check"}},
			Payload{AppKey: "k", Properties: props{"check": "c"}}},
		{"a primary property that stood in for a missing one stays it",
			Identity{AppKey: "k", Primary: "task", PrimaryValue: "t", Secondary: "check", SecondaryValue: "c"},
			Payload{AppKey: "k", Properties: props{"host": "a", "task": "t", "check": "c"}},
			Payload{AppKey: "k", Properties: props{"host": "a", "task": "t", "check": "c", "primary_property": "task"}}},
		{"one property that was both stays it",
			Identity{AppKey: "k", Primary: "check", PrimaryValue: "c", Secondary: "check", SecondaryValue: "c"},
			Payload{AppKey: "k", Properties: props{"check": "d", "primary_property": "check"}},
			Payload{AppKey: "k", Properties: props{"check": "c", "primary_property": "check"}}},
		{"the status that was the primary property is not changed",
			Identity{AppKey: "k", Primary: "status", PrimaryValue: "critical", Secondary: "check", SecondaryValue: "c"},
			Payload{AppKey: "k", Status: "ok", Properties: props{"primary_property": "status", "check": "c"}},
			Payload{AppKey: "k", Status: "ok", Properties: props{"primary_property": "identity_primary", "identity_primary": "critical", "check": "c"}}},
		{"nor the timestamp that was the secondary one",
			Identity{AppKey: "k", Primary: "host", PrimaryValue: "a", Secondary: "timestamp", SecondaryValue: "7"},
			Payload{AppKey: "k", Timestamp: 8, Properties: props{"host": "a", "secondary_property": "timestamp"}},
			Payload{AppKey: "k", Timestamp: 8, Properties: props{"host": "a", "secondary_property": "identity_secondary", "identity_secondary": "7"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.in
			tt.as.Apply(&got)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			checkApplied(t, tt.as, got)
		})
	}
}

// checkApplied compares keys, also as a receiver of the JSON reads them.
func checkApplied(t *testing.T, as Identity, p Payload) {
	t.Helper()
	if got := p.Identity().Key(); got != as.Key() {
		t.Fatalf("%+v has the key %q, want %q of %+v", p, got, as.Key(), as)
	}
	received := Payload{AppKey: p.AppKey, Properties: map[string]string{}}
	for name, value := range decoded(t, p.Encode()) {
		switch name {
		case nameStatus:
			received.Status = value.(string)
		case nameTimestamp:
			received.Timestamp = p.Timestamp
		default:
			received.Properties[name] = value.(string)
		}
	}
	if got := received.Identity().Key(); got != as.Key() {
		t.Fatalf("%s is received with the key %q, want %q", p.Encode(), got, as.Key())
	}
}

// draw makes payloads and identities out of bytes. The few names and values are
// those that matter, so that they often meet.
type draw []byte

var (
	drawnNames = []string{
		"", "host", "service", "device", "check", "sensor", "x", "n", "status", "timestamp", "app_key",
		"alerts", "incident_identifier", "primary_property", "secondary_property",
	}
	drawnValues = append([]string{"a", "b", "c", "ok", "7"}, drawnNames...)
)

func (d *draw) one(of []string) string {
	if len(*d) == 0 {
		return ""
	}
	n := int((*d)[0])
	*d = (*d)[1:]
	return of[n%len(of)]
}

func (d *draw) payload() Payload {
	p := Payload{AppKey: d.one(drawnValues[:3]), Status: d.one(drawnValues), Timestamp: int64(len(*d) % 2 * 7)}
	for n := len(d.one(drawnNames)) % 8; n > 0; n-- {
		if p.Properties == nil {
			p.Properties = make(map[string]string)
		}
		p.Properties[d.one(drawnNames)] = d.one(drawnValues)
	}
	for _, chooser := range []string{namePrimary, nameSecondary} {
		if name := d.one(drawnNames); name != "" && p.Properties != nil {
			p.Properties[chooser] = name
		}
	}
	return p
}

// identity is that of a payload, which chooses what may be chosen.
func (d *draw) identity() Identity {
	p := d.payload()
	for _, chooser := range []string{namePrimary, nameSecondary} {
		if !Chooseable(p.Properties[chooser]) {
			delete(p.Properties, chooser)
		}
	}
	return p.Identity()
}

func applyDrawn(t *testing.T, bytes []byte) {
	t.Helper()
	d := draw(bytes)
	as, p := d.identity(), d.payload()
	before := p
	before.Properties = maps.Clone(p.Properties)
	as.Apply(&p)
	checkApplied(t, as, p)
	if p.Status != before.Status || p.Timestamp != before.Timestamp {
		t.Fatalf("%+v: status or timestamp changed to %+v", before, p)
	}
	if before.Identity().Key() == as.Key() && !reflect.DeepEqual(p, before) {
		t.Fatalf("%+v has the key already, but became %+v", before, p)
	}
	once := maps.Clone(p.Properties)
	as.Apply(&p)
	if !maps.Equal(once, p.Properties) {
		t.Fatalf("applied again, %q became %q", once, p.Properties)
	}
	again := before
	again.Properties = maps.Clone(before.Properties)
	as.Apply(&again)
	if string(again.Encode()) != string(p.Encode()) || again.AppKey != p.AppKey {
		t.Fatalf("%+v became %s once and %s another time (P10)", before, p.Encode(), again.Encode())
	}
}

func TestApplyWhateverWasThere(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	bytes := make([]byte, 48)
	for range test.Volume(20_000, 4000) {
		for n := range bytes {
			bytes[n] = byte(random.Uint32())
		}
		applyDrawn(t, bytes)
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("any bytes draw an identity and a payload to apply it to"))
	f.Fuzz(applyDrawn)
}
