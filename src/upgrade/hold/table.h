// SPDX-License-Identifier: LGPL-2.1-or-later
// The table of nftables that holds packets back.
//
// The kernel binds it to the socket that made it (`flags owner`: nft(8)): nobody else can change it, `nft flush
// ruleset` passes it by, and it vanishes when its maker ends, however that happens. So nothing of it can be left
// behind.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "upgrade/hold/held_socket.h"

struct nft_ctx;

namespace ks::upgrade {

class HoldTable {
 public:
  static Result<HoldTable> create();
  // Whether this kernel would let us; it changes nothing.
  static Result<> probe();

  HoldTable(HoldTable&& other) noexcept;
  HoldTable& operator=(HoldTable&&) = delete;
  ~HoldTable();

  // Each all at once or not at all. What is removed must be there.
  Result<> add(std::span<const SetMember> members);
  Result<> remove(std::span<const SetMember> members);

 private:
  explicit HoldTable(nft_ctx* context) : context_(context) {}
  Result<> change(const char* verb, std::span<const SetMember> members);
  nft_ctx* context_;
};

}  // namespace ks::upgrade
