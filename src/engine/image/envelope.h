// SPDX-License-Identifier: LGPL-2.1-or-later
// An envelope: what it is, which version, how long, a checksum; then the body, which only the room that
// wrote it understands. The header can be read without the body.
//
//   bytes 0-7   "KSWAPENV"
//   bytes 8-11  length of the header, little endian
//   then        header: protobuf EnvelopeHeader
//   then        body: protobuf of the kind's own schema
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct Envelope {
  std::string kind;
  uint32_t version = 0;
  std::string body;
};

std::string seal(std::string_view kind, uint32_t version, const google::protobuf::MessageLite& body);

// Every envelope of a file that is a sequence of them. Damage names the offset.
Result<std::vector<Envelope>> open_envelopes(std::string_view bytes);
// The only one; it must be of this kind and of a version that we know.
Result<Envelope> open_envelope(std::string_view bytes, std::string_view kind, uint32_t newest_version);

// The body as a message; an error where it is none.
Result<> parse_body(const Envelope& envelope, google::protobuf::MessageLite& into);

}  // namespace ks::engine
