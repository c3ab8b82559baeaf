// bun run release: makes dist/release, a folder that any static file server can serve as the release
// address (`MODELRELAY_BASE_URL`), and installs from it once, over a local server, to see that it works.
//
//   <base>/latest.txt                      the newest version and a newline: `0.2.0`
//   <base>/install.sh                      the installer
//   <base>/SHA256SUMS                      sums of the newest version, with paths from here
//   <base>/v0.2.0/SHA256SUMS               sums of that version's archives: `<64 hex digits>  <file name>`
//   <base>/v0.2.0/modelrelay-0.2.0-<target>.tar.gz     (`.zip` for Windows); targets as in targets.ts
//
// Who installs reads latest.txt, then v<version>/SHA256SUMS, then the archive. A version's folder never
// changes once it is there, and latest.txt is written last, so that nobody sees half a release.
//
// In an archive, all below one folder `modelrelay-<version>-<target>/`; the executable comes first:
//
//   modelrelay (modelrelay.exe)            mode 0755
//   LICENSE, README.md
//   systemd/…                              units, for those who place files themselves
//   share/man/man1/modelrelay.1
//   share/bash-completion/completions/modelrelay
//   share/zsh/site-functions/_modelrelay
//   share/fish/vendor_completions.d/modelrelay.fish
//   completions/modelrelay.ps1             for Windows
//
// An installation, below a prefix such as /usr/local or ~/.local:
//
//   <prefix>/bin/modelrelay                replaced by rename(2), so that it is whole at any moment
//   <prefix>/bin/modelrelay.previous       the one before it, for `modelrelay update --rollback`
//   <prefix>/bin/.modelrelay-install.<pid>/    work in progress; of a process that is gone: rubbish
//   <prefix>/share/…                       the files below share/ of the archive
//   <prefix>/share/doc/modelrelay/         LICENSE, README.md and systemd/ of the archive, and
//     made-folders                         absolute paths of the folders that installing made, one a line,
//                                          parents first; uninstalling removes those that are then empty
