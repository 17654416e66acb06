// SPDX-License-Identifier: LGPL-2.1-or-later
// What is held back of which unit, and who may say so.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "upgrade/hold/table.h"

namespace ks::upgrade {

// The sockets of units in a table that is there as long as any is held.
class Holdings {
 public:
  bool empty() const { return units_.empty(); }
  // Beside what is held of it already. `lines`: see held_socket.h.
  Result<> hold(const std::string& unit, std::span<const std::string> lines);
  // What is not held is no error.
  Result<> lift(const std::string& unit);
  void lift_all();

 private:
  std::map<std::string, std::vector<std::string>> units_;
  std::map<std::string, size_t> uses_;  // of a line: units may share a port
  std::optional<HoldTable> table_;
};

// Serves the clients of client.h at `path`, until nothing is held any more and nobody is there to ask for it, or the
// limit is reached.
class Keeper {
 public:
  // Listens from now on.
  static Result<Keeper> open(const std::string& path, Holdings holdings);
  Result<> serve(uint64_t limit_seconds);

 private:
  struct Client {
    Fd fd;
    std::vector<std::string> units;  // lifted at its end, unless it says that they are to be kept
  };
  Keeper(Fd listener, Holdings holdings) : listener_(std::move(listener)), holdings_(std::move(holdings)) {}
  void accept();
  // False: it has gone.
  bool answer(Client& client);
  Result<> obey(Client& client, const std::string& request);
  Fd listener_;
  Holdings holdings_;
  std::vector<Client> clients_;
  bool ended_ = false;
};

}  // namespace ks::upgrade
