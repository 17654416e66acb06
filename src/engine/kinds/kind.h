// SPDX-License-Identifier: LGPL-2.1-or-later
// A kind of open file. Each kind is one room: a folder with its schema, its code for both directions and its
// test, and one entry in all.cc.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/open_file.h"
#include "engine/context/restoring.h"
#include "engine/image/envelope.h"

namespace ks::engine {

struct Kind {
  std::string_view name;
  uint32_t version;
  // Null: not a kind, but something that files of every kind may have. Its dump gets all of them.
  bool (*owns)(const OpenFile&) = nullptr;
  // Puts one envelope per file, or refuses it. Must not consume anything.
  Result<> (*dump)(Dumping&, std::span<const OpenFile>);
  // Its files may hold others that no process has: hands them over, and remembers which they are.
  using Found = std::function<Result<uint32_t>(const OpenFile& within, Fd)>;  // returns its id
  Result<> (*look_inside)(Dumping&, std::span<const OpenFile>, const Found&) = nullptr;
  // The files again, by id.
  Result<Fds> (*make)(Restoring&, std::span<const Envelope>) = nullptr;
  // What leads from one file to another, or to a process: all files are made, and processes have their descriptors.
  Result<> (*connect)(Restoring&, std::span<const Envelope>) = nullptr;
  // The last act before processes run. Nothing can be taken back any more.
  Result<> (*release)(Restoring&, std::span<const Envelope>) = nullptr;
  // Its files lead to processes and threads, which must exist when they are made.
  bool of_processes = false;
  // What they are follows from the process that has them: of none, they cannot be carried.
  bool of_holder = false;
  // Its dump may wake epolls: it comes after that of all others, when their edges have been looked at.
  bool disturbs = false;
};

// Whether a file could be dumped: a refusal names it and is no reason not to go on, an error is one.
Result<bool> is_done(Dumping& dumping, const OpenFile& file, Result<> dumped);

// For a kind whose files are dumped one by one: a refusal of one names it and is no reason not to go on.
Result<> dump_each(Dumping& dumping, std::span<const OpenFile> files,
                   Result<> (*dump_one)(Dumping&, const OpenFile&));

// For a kind whose files are made one by one, each from a Message with its id.
template <class Message>
Result<Fds> make_each(Restoring& restoring, std::span<const Envelope> envelopes,
                      Result<Fd> (*make_one)(Restoring&, const Message&)) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    Message file;
    TRY(parse_body(envelope, file));
    made.emplace(file.id(), TRY(make_one(restoring, file)));
  }
  return made;
}

// In the order in which they are asked and made.
std::span<const Kind* const> all_kinds();

}  // namespace ks::engine
