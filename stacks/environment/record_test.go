package environment

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAProtectedDatabaseKeepsItsCluster(t *testing.T) {
	t.Parallel()
	before := resource.NewProperty(resource.PropertyMap{
		"shop": resource.NewProperty("apps/shop-postgresql"),
		"wiki": resource.NewProperty("apps/wiki-postgresql"),
	})
	for name, test := range map[string]struct {
		before  resource.PropertyValue
		wanted  map[string]string
		refused []string
	}{
		"nothing changes":       {before, map[string]string{"shop": "apps/shop-postgresql", "wiki": "apps/wiki-postgresql"}, nil},
		"another namespace":     {before, map[string]string{"shop": "shops/shop-postgresql"}, []string{`"shop"`, "apps/shop-postgresql", "shops/shop-postgresql", "protect: false"}},
		"another name":          {before, map[string]string{"wiki": "apps/pages"}, []string{`"wiki"`, "apps/wiki-postgresql", "apps/pages"}},
		"it is not protected":   {before, map[string]string{}, nil},
		"a new database":        {before, map[string]string{"photos": "apps/photos-postgresql"}, nil},
		"an earlier release":    {resource.PropertyValue{}, map[string]string{"shop": "shops/shop-postgresql"}, nil},
		"all of them are moved": {before, map[string]string{"shop": "x/shop", "wiki": "x/wiki"}, []string{"x/shop", "x/wiki"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := checkMoved(test.before, test.wanted)
			if len(test.refused) == 0 {
				require.NoError(t, err)
				return
			}
			for _, part := range test.refused {
				assert.ErrorContains(t, err, part)
			}
		})
	}
}
