// Package plan says which slots should move where. It is pure: a picture of the cluster and a goal make a Plan, the same
// ones always the same Plan.
package plan
