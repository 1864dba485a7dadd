package jenkinstest

import (
	"container/list"
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
)

// maxSessions bounds the sessions of a run; beyond it the oldest is forgotten, as Jetty's eviction would.
const maxSessions = 100_000

// run is what Jenkins knows between two starts and forgets at a restart.
type run struct {
	cookie string // name of the session cookie
	hash   string // X-Jenkins-Session

	mu       sync.RWMutex // guards sessions and age
	sessions map[string]*list.Element
	age      *list.List // session ids, oldest first
}

func newRun() *run {
	return &run{
		cookie:   "JSESSIONID." + randomHex(8), // executable.Main in the war
		hash:     randomHex(8),
		sessions: make(map[string]*list.Element),
		age:      list.New(),
	}
}

// find returns the id of the session that the request's cookies name, or "". Jetty drops the node's suffix.
func (s *run) find(r *http.Request) string {
	for _, c := range r.CookiesNamed(s.cookie) {
		id := c.Value
		if dot := strings.LastIndexByte(id, '.'); dot >= 0 {
			id = id[:dot]
		}
		s.mu.RLock()
		_, ok := s.sessions[id]
		s.mu.RUnlock()
		if ok {
			return id
		}
	}
	return ""
}

func (s *run) create() string {
	id := "node0" + strings.ToLower(rand.Text()) + "0"
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[id] = s.age.PushBack(id)
	for len(s.sessions) > maxSessions {
		oldest := s.age.Front()
		delete(s.sessions, s.age.Remove(oldest).(string))
	}
	return id
}

// Sessions counts the live sessions.
func (j *Jenkins) Sessions() int {
	s := j.run.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.sessions)
}

// ExpireSessions forgets all sessions, as idle time does. Unlike after a Restart the cookie keeps its name.
func (j *Jenkins) ExpireSessions() {
	s := j.run.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
	s.age.Init()
}

// getSession is HttpServletRequest.getSession: it makes a session when there is none. Jetty writes the cookie with
// blanks since 12.1, and adds Expires to an answer that sets one.
func (x *exchange) getSession() string {
	if x.session == "" {
		x.session = x.run.create()
		cookie := []string{x.run.cookie + "=" + x.session + ".node0", "Path=" + x.j.cookiePath()}
		if strings.HasPrefix(x.j.cfg.RootURL, "https:") {
			cookie = append(cookie, "Secure") // by the configured URL, not by the connection
		}
		cookie = append(cookie, "HttpOnly")
		if x.j.minor >= 513 {
			cookie = append(cookie, "SameSite=Lax")
		}
		x.setCookie(cookie...)
		x.Header().Set("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
	}
	return x.session
}

// setCookie sends a cookie: the pair, then its attributes.
func (x *exchange) setCookie(parts ...string) {
	separator := ";"
	if x.j.minor >= jetty121 {
		separator = "; "
	}
	x.Header().Add("Set-Cookie", strings.Join(parts, separator))
}

// cookiePath is the context path, or "/".
func (j *Jenkins) cookiePath() string {
	if j.cfg.Prefix == "" {
		return "/"
	}
	return j.cfg.Prefix
}

// forget invalidates a session.
func (s *run) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.sessions[id]; ok {
		s.age.Remove(e)
		delete(s.sessions, id)
	}
}
