package policy

import (
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
)

// several items of one folder become a pattern for the folder, where that is asked for.
const several = 4

// Suggest returns the narrowest scopes that cover all needs, sorted: items one by one, so that they take in nothing that
// wasn't needed. A need of the whole controller can't be covered by less. There may be more of them than MaxScopes.
func Suggest(needs []Need) []string { return suggest(needs, false) }

// SuggestFolders returns the same, but folder/* for four items or more in one folder: so it takes in neighbours of what
// was needed, but never another folder. Top level items are always named.
func SuggestFolders(needs []Need) []string { return suggest(needs, true) }

func suggest(needs []Need, byFolder bool) []string {
	const root = ""
	whole := make(map[Permission]bool)
	items := make(map[Permission]map[string]bool)   // full names
	folders := make(map[Permission]map[string]bool) // with all below
	put := func(to map[Permission]map[string]bool, p Permission, name string) {
		if to[p] == nil {
			to[p] = make(map[string]bool)
		}
		to[p][name] = true
	}
	somewhere := false
	for _, n := range needs {
		name := n.Item.String()
		switch {
		case n.Permission == free:
		case n.Reach == Somewhere:
			somewhere = true
		case name == root || !n.Permission.HasItems():
			whole[n.Permission] = true
		case n.Reach == Below:
			put(folders, n.Permission, name)
		default:
			put(items, n.Permission, name)
		}
	}
	if whole[Admin] {
		return []string{Admin.String()}
	}
	if somewhere && !whole[Read] && !whole[Build] && len(items[Read])+len(items[Build])+len(folders[Read])+len(folders[Build]) == 0 {
		whole[Read] = true // no item is known to name
	}
	var texts []string
	for _, grant := range endpoint.Grants {
		p := grant.Permission
		if p == Webhook { // which Build includes
			if whole[Build] {
				continue
			}
			for item := range items[Webhook] {
				if items[Build][item] || beneath(folders[Build], item) {
					delete(items[Webhook], item)
				}
			}
		}
		if whole[p] {
			texts = append(texts, p.String())
			continue
		}
		prefix := p.String() + ":"
		for folder := range folders[p] {
			if !beneath(folders[p], parent(folder)) {
				texts = append(texts, prefix+folder+"/**")
			}
		}
		children := make(map[string]int)
		for item := range items[p] {
			if beneath(folders[p], item) {
				delete(items[p], item)
				continue
			}
			children[parent(item)]++
		}
		for item := range items[p] {
			if folder := parent(item); !byFolder || folder == root || children[folder] < several {
				texts = append(texts, prefix+item)
			}
		}
		for folder, n := range children {
			if byFolder && folder != root && n >= several {
				texts = append(texts, prefix+folder+"/*")
			}
		}
	}
	slices.Sort(texts)
	return texts
}

func parent(item string) string {
	return item[:max(strings.LastIndexByte(item, '/'), 0)]
}

// beneath tells whether an item is one of the folders or in one.
func beneath(folders map[string]bool, item string) bool {
	for ; item != ""; item = parent(item) {
		if folders[item] {
			return true
		}
	}
	return false
}
