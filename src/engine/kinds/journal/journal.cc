// SPDX-License-Identifier: LGPL-2.1-or-later
// A service's standard output: a stream to systemd-journald, connected anew as the same unit. The protocol is the
// one that sd_journal_stream_fd(3) speaks: a header of lines, then lines of text.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/file.h"
#include "engine/journal.pb.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "journal-stream";
constexpr uint32_t kVersion = 2;  // 1: of no journal but the first

// "/run/systemd/journal/stdout"; with LogNamespace=a "/run/systemd/journal.a/stdout".
bool is_journal(std::string_view socket) {
  constexpr std::string_view kDirectory = "/run/systemd/journal", kName = "/stdout";
  if (!socket.starts_with(kDirectory) || !socket.ends_with(kName)) return false;
  socket.remove_prefix(kDirectory.size());
  socket.remove_suffix(std::min(kName.size(), socket.size()));
  return socket.empty() || (socket.starts_with('.') && socket.find('/') == socket.npos);
}

// The far end's name is that of the socket it was accepted from.
std::string far_end(const OpenFile& file) {
  sockaddr_un peer{};
  socklen_t length = sizeof peer;
  auto fd = file.fetch();
  if (!fd || ::getpeername(fd->get(), reinterpret_cast<sockaddr*>(&peer), &length) || peer.sun_family != AF_UNIX)
    return "";
  return {peer.sun_path, strnlen(peer.sun_path, sizeof peer.sun_path)};
}

bool owns(const OpenFile& file) {
  return file.socket && file.socket->family == AF_UNIX && file.socket->type == SOCK_STREAM &&
         is_journal(far_end(file));
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  const JournalIdentity& identity = dumping.options.journal;
  for (const OpenFile& file : files) {
    image::JournalStream out;
    out.set_id(file.id);
    out.set_socket(far_end(file));
    out.set_flags(static_cast<uint32_t>(file.flags()));
    out.set_unit(identity.unit);
    out.set_identifier(identity.identifier);
    out.set_priority(identity.priority);
    out.set_level_prefix(identity.level_prefix);
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<Fd> connect_stream(const image::JournalStream& stream) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  sockaddr_un address{.sun_family = AF_UNIX};
  const std::string name = stream.socket().empty() ? "/run/systemd/journal/stdout" : stream.socket();
  if (name.size() >= sizeof address.sun_path) return fail("a journal of too long a name");
  std::ranges::copy(name, address.sun_path);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address)) return fail_errno(name);
  // As systemd sets it for a service: the journal's side sends nothing.
  if (::shutdown(fd.get(), SHUT_RD)) return fail_errno(name);
  // Identifier, unit, priority, level prefix, and no forwarding to syslog, kmsg and console.
  TRY(write_all(fd.get(),
                fmt::format("{}\n{}\n{}\n{}\n0\n0\n0\n", stream.identifier(), stream.unit(), stream.priority(),
                            stream.level_prefix() ? 1 : 0),
                name));
  return fd;
}

Result<Fds> make(Restoring&, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::JournalStream stream;
    TRY(parse_body(envelope, stream));
    Fd fd = TRY(connect_stream(stream));
    if (::fcntl(fd.get(), F_SETFL, static_cast<int>(stream.flags()))) return fail_errno("journal stream flags");
    made.emplace(stream.id(), std::move(fd));
  }
  return made;
}

}  // namespace

extern const Kind kJournal;
const Kind kJournal{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
