package token_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
)

// A modelled token is what the simplest directory would know of one.
type modelled struct {
	id          uuid.UUID
	owner, name string
	root        uuid.UUID
	expires     time.Time // zero: never
	life        time.Duration
	revoked     bool
	suspended   bool
	replaced    bool
	cap, uses   uint64
}

func (m *modelled) admit(now time.Time, disabled bool) token.Refusal {
	ended := !m.expires.IsZero() && !now.Before(m.expires)
	switch {
	case m.revoked:
		return token.RefusedRevoked
	case disabled:
		return token.RefusedOwner
	case m.suspended:
		return token.RefusedSuspended
	case ended && m.replaced:
		return token.RefusedSuperseded
	case ended:
		return token.RefusedExpired
	case m.cap != 0 && m.uses >= m.cap:
		return token.RefusedUses
	}
	return ""
}

// Whatever is done, in whatever order and with how many restarts in between, the
// directory answers as the model does.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		var all []*modelled
		disabled := make(map[string]bool)
		taken := func(owner, name string, except *modelled) bool {
			for _, m := range all {
				if m != except && m.owner == owner && m.name == name && !m.revoked && !m.replaced {
					return true
				}
			}
			return false
		}
		some := func(r *rapid.T) *modelled {
			if len(all) == 0 {
				r.Skip("no token yet")
			}
			return rapid.SampledFrom(all).Draw(r, "token")
		}
		owner := rapid.SampledFrom([]string{"alice", "bob"})
		name := rapid.SampledFrom([]string{"a", "b", "c"})
		life := rapid.SampledFrom([]time.Duration{0, 2 * hour, 48 * hour})
		want := func(r *rapid.T, what string, err, kind error) bool {
			if kind == nil && err != nil || kind != nil && !errors.Is(err, kind) {
				r.Fatalf("%s: %v, want %v", what, err, kind)
			}
			return err == nil
		}
		hours := func(d time.Duration, none string) string {
			if d == 0 {
				return none
			}
			return fmt.Sprintf("%dh", d/hour)
		}
		end := func(life time.Duration) time.Time {
			if life == 0 {
				return time.Time{}
			}
			return w.now.Add(life)
		}
		r.Repeat(map[string]func(*rapid.T){
			"create": func(r *rapid.T) {
				m := &modelled{owner: owner.Draw(r, "owner"), name: name.Draw(r, "name"), life: life.Draw(r, "life"), cap: rapid.SampledFrom([]uint64{0, 0, 2}).Draw(r, "cap")}
				req := token.Request{User: m.owner, Name: m.name, Expires: hours(m.life, "never"), Limits: &token.Limits{Uses: m.cap}}
				made, _, err := w.Create(t.Context(), req)
				var kind error
				switch {
				case disabled[m.owner]:
					kind = token.ErrConflict
				case taken(m.owner, m.name, nil):
					kind = token.ErrDuplicate
				}
				if want(r, "Create", err, kind) {
					m.id, m.expires = made.Record().ID, end(m.life)
					m.root = m.id
					all = append(all, m)
				}
			},
			"rotate": func(r *rapid.T) {
				m := some(r)
				overlap := rapid.SampledFrom([]time.Duration{0, time.Hour, 24 * time.Hour}).Draw(r, "overlap")
				made, _, _, err := w.Rotate(t.Context(), m.id, token.Rotation{Overlap: hours(overlap, "0")})
				var kind error
				if m.revoked || m.suspended || m.replaced || disabled[m.owner] {
					kind = token.ErrConflict
				}
				if !want(r, "Rotate", err, kind) {
					return
				}
				life := m.life
				if life == 0 {
					life = 90 * day
				}
				all = append(all, &modelled{id: made.Record().ID, owner: m.owner, name: m.name, root: m.root, life: life, expires: end(life), cap: m.cap})
				m.replaced = true
				if last := w.now.Add(overlap); m.expires.IsZero() || m.expires.After(last) {
					m.expires = last
				}
			},
			"suspend": func(r *rapid.T) {
				m := some(r)
				done, err := w.SuspendAll(t.Context(), []*token.Token{w.get(m.id)}, token.ByAdmin, "", "admin")
				if changes := !m.revoked && !m.suspended; want(r, "SuspendAll", err, nil) && len(done) == 1 != changes {
					r.Fatalf("SuspendAll changed %d tokens of %+v", len(done), *m)
				}
				m.suspended = m.suspended || !m.revoked
			},
			"resume": func(r *rapid.T) {
				m := some(r)
				done, err := w.ResumeAll(t.Context(), []*token.Token{w.get(m.id)}, token.ByAdmin, "admin")
				if changes := !m.revoked && m.suspended; want(r, "ResumeAll", err, nil) && len(done) == 1 != changes {
					r.Fatalf("ResumeAll changed %d tokens of %+v", len(done), *m)
				}
				m.suspended = false
			},
			"revoke": func(r *rapid.T) {
				m := some(r)
				_, err := w.Revoke(t.Context(), m.id, "admin")
				want(r, "Revoke", err, nil)
				m.revoked, m.suspended = true, false
			},
			"rename": func(r *rapid.T) {
				m, to := some(r), name.Draw(r, "to")
				_, err := w.Rename(t.Context(), m.id, to, "admin")
				var kind error
				switch {
				case m.revoked || disabled[m.owner]:
					kind = token.ErrConflict
				case taken(m.owner, to, m):
					kind = token.ErrDuplicate
				}
				if want(r, "Rename", err, kind) {
					m.name = to
				}
			},
			"limit": func(r *rapid.T) {
				m, bound := some(r), rapid.SampledFrom([]uint64{0, 1, 3}).Draw(r, "cap")
				_, err := w.SetLimits(t.Context(), m.id, &token.Limits{Uses: bound}, "admin")
				var kind error
				if m.revoked {
					kind = token.ErrConflict
				}
				if want(r, "SetLimits", err, kind) {
					m.cap = bound
				}
			},
			"use": func(r *rapid.T) {
				m := some(r)
				if m.admit(w.now, disabled[m.owner]) != "" {
					return
				}
				if got := w.get(m.id).Use(usage.Use{Time: w.now, Addr: "10.0.0.1"}); got != "" {
					r.Fatalf("Use of %+v = %q", *m, got)
				}
				m.uses++
			},
			"disable or enable": func(r *rapid.T) {
				who, off := owner.Draw(r, "owner"), rapid.Bool().Draw(r, "disabled")
				_, err := w.SetDisabled(t.Context(), who, off, "admin")
				want(r, "SetDisabled", err, nil)
				disabled[who] = off
			},
			"fail": func(r *rapid.T) {
				m := some(r)
				w.store.failWrites(0, errFull)
				defer w.store.heal()
				if _, err := w.Revoke(t.Context(), m.id, "admin"); !m.revoked {
					want(r, "Revoke", err, token.ErrStore)
					if got := w.get(m.id).Admit(w.now); got == "" {
						r.Fatalf("%+v is let in though it was to be revoked", *m)
					}
				}
				w.store.heal()
				_, err := w.Revoke(t.Context(), m.id, "admin")
				want(r, "Revoke once more", err, nil)
				m.revoked, m.suspended = true, false
			},
			"reopen": func(*rapid.T) { w.reopen() },
			"time": func(r *rapid.T) {
				w.pass(rapid.SampledFrom([]time.Duration{time.Hour, 24 * time.Hour}).Draw(r, "passes"))
			},
			"": func(r *rapid.T) {
				if w.Len() != len(all) {
					r.Fatalf("%d tokens, want %d", w.Len(), len(all))
				}
				for _, m := range all {
					tok := w.get(m.id)
					record := tok.Record()
					if got, want := tok.Admit(w.now), m.admit(w.now, disabled[m.owner]); got != want {
						r.Fatalf("%+v is %q, want %q", *m, got, want)
					}
					if record.Name != m.name || record.Root() != m.root || record.Superseded() != m.replaced || tok.Uses().Count != m.uses {
						r.Fatalf("%+v is %+v with %d uses", *m, record, tok.Uses().Count)
					}
				}
			},
		})
	})
}
