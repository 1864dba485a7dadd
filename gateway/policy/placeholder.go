package policy

type Permission string
type Need struct {
	Permission Permission
	Item       string
}
type Scopes struct{}

func ParseScopes(t []string) (*Scopes, error)     { return &Scopes{}, nil }
func (s *Scopes) Allows(Need) bool                { return true }
func (s *Scopes) Strings() []string               { return nil }
func Classify(method, path, rawQuery string) Need { return Need{} }
func Suggest(needs []Need) []string               { return nil }
func (n Need) String() string                     { return string(n.Permission) + ":" + n.Item }
