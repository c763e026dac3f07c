// Package router knows where a command belongs.
package router
