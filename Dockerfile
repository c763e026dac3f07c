# slotproxy alone, on an empty image: the binary is static.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /slotproxy ./cmd/slotproxy

FROM scratch
# For TLS to nodes whose certificates a public authority signed.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /slotproxy /slotproxy
# Nobody: it needs no rights, and writes only to state_dir.
USER 65534:65534
EXPOSE 6479 6481 9490
ENTRYPOINT ["/slotproxy"]
CMD ["serve"]
