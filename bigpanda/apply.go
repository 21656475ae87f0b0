package bigpanda

import "cmp"

// The properties that bear a value whose own name is not known, or not Chooseable.
const (
	ownPrimary   = "identity_primary"
	ownSecondary = "identity_secondary"
)

// Apply changes the payload so that BigPanda takes it for the alert i, which was
// read off another payload: after it p.Identity().Key() equals i.Key(), whatever p
// held before. It changes nothing when the keys are equal already, and never the
// status or the timestamp. Properties is changed in place, so it must not be shared
// with another payload.
func (i Identity) Apply(p *Payload) {
	if p.Identity().Key() == i.Key() {
		return
	}
	if p.Properties == nil {
		p.Properties = make(map[string]string)
	}
	p.AppKey = i.AppKey
	if i.Incident != "" {
		p.Properties[nameIncident] = i.Incident
		return
	}
	delete(p.Properties, nameIncident)

	// First the values: what is chosen depends on them.
	primary := p.put(i.Primary, i.PrimaryValue, ownPrimary)
	secondary := p.put(i.Secondary, i.SecondaryValue, ownSecondary)
	for range 2 { // a chooser is a property itself, which p's other chooser may name
		p.point(namePrimary, primaryDefaults, primary)
		p.point(nameSecondary, secondaryDefaults, secondary)
	}
}

// put gives a value to the property name, or else to own, and returns which; ""
// for no value.
func (p *Payload) put(name, value, own string) string {
	if value == "" {
		return ""
	}
	if !Chooseable(name) {
		name = ""
	}
	name = cmp.Or(name, own)
	if name != nameAppKey { // which the payload has
		p.Properties[name] = value
	}
	return name
}

// point has the property chooser lead to the property name, "" for none.
func (p *Payload) point(chooser string, defaults []string, name string) {
	if name == "" {
		for _, d := range defaults {
			delete(p.Properties, d)
		}
		delete(p.Properties, chooser)
		return
	}
	if found, _ := p.choose(chooser, defaults); found != name {
		p.Properties[chooser] = name
	}
}
