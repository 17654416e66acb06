// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/terminal/input.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "base/file.h"
#include "engine/kernel/terminal_insides.h"

namespace ks::engine::terminal {

namespace {

constexpr int kPatience = 1000;    // milliseconds for the kernel to hand on what was written
constexpr int kTakesAtOnce = 100;  // milliseconds, after which it is taken to have no room
constexpr size_t kPiece = 64;
constexpr char kNewline = '\n', kEndOfFile = '\0';

bool edits_lines(const termios2& settings) { return settings.c_lflag & ICANON; }

Result<int> unread(int slave) {
  int bytes = 0;
  if (::ioctl(slave, FIONREAD, &bytes)) return fail_errno("FIONREAD");
  return bytes;
}

// Of lines, the end of a file alone is no byte, but can be read.
Result<bool> can_be_read(int slave) {
  pollfd waiting{.fd = slave, .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, 0) < 0) return fail_errno("poll");
  return waiting.revents & POLLIN || TRY(unread(slave)) > 0;
}

Result<TerminalInput> await_input(int slave) {
  auto input = look_at_input(slave);
  for (int i = 0; i < kTakesAtOnce && input && input->on_its_way; ++i) {
    ::usleep(1000);
    input = look_at_input(slave);
  }
  return input;
}

// That end lines besides the usual one: two, a terminal can be told of.
std::set<char> other_line_ends(const image::Terminal& terminal) {
  std::set<char> ends;
  for (uint32_t at : terminal.line_ends())
    if (char end = terminal.input()[at]; end != kNewline && end != kEndOfFile) ends.insert(end);
  return ends;
}
constexpr size_t kMostOthers = 2;

// A terminal that takes each character as it is, but for a few that it was told of.
class Typist {
 public:
  Typist(int master, int slave, const image::Terminal& terminal)
      : master_(master), slave_(slave), terminal_(terminal) {
    const auto others = other_line_ends(terminal);
    cc_t free = 1;
    auto choose = [&] {
      while (free == kNewline || others.contains(static_cast<char>(free))) ++free;
      return free++;
    };
    end_of_file_ = choose(), literally_ = choose(), reprint_ = choose();
    settings_.c_lflag = ICANON | IEXTEN | ECHO;
    settings_.c_cc[VEOF] = end_of_file_;
    settings_.c_cc[VLNEXT] = literally_;
    settings_.c_cc[VREPRINT] = reprint_;
    auto other = others.begin();
    if (other != others.end()) settings_.c_cc[VEOL] = static_cast<cc_t>(*other++);
    if (other != others.end()) settings_.c_cc[VEOL2] = static_cast<cc_t>(*other);
  }

  // The echo tells when something has arrived. Last of all the line that is not ended is echoed once more: its end
  // has nothing else to show for itself.
  Result<> type_all() {
    if (::ioctl(slave_, TCSETS2, &settings_)) return fail_errno("TCSETS2");
    const std::string& input = terminal_.input();
    std::string typed, echo;
    auto end = terminal_.line_ends().begin();
    size_t line = 0;
    for (size_t at = 0; at < input.size(); ++at) {
      bool ends = end != terminal_.line_ends().end() && *end == at;
      add(input[at], ends, typed, echo);
      if (ends) ++end, line = at + 1;
      if (typed.size() >= kPiece) TRY(type(typed, echo));
    }
    add_reprint(std::string_view(input).substr(line), typed, echo);
    return type(typed, echo);
  }

 private:
  void add(char character, bool ends, std::string& typed, std::string& echo) const {
    if (ends && character == kEndOfFile) {
      typed += static_cast<char>(end_of_file_);
      return;
    }
    if (!ends) typed += static_cast<char>(literally_);
    typed += character;
    echo += character;
  }

  void add_reprint(std::string_view line, std::string& typed, std::string& echo) const {
    typed += static_cast<char>(reprint_);
    ((echo += static_cast<char>(reprint_)) += kNewline) += line;
  }

  Result<> type(std::string& typed, std::string& echo) const {
    TRY(write_all(master_, typed, "its input"));
    std::string got(echo.size(), '\0');
    for (size_t have = 0; have < got.size();) {
      pollfd arrived{.fd = master_, .events = POLLIN, .revents = 0};
      if (::poll(&arrived, 1, kPatience) <= 0) return fail("does not take its input");
      ssize_t some = ::read(master_, got.data() + have, got.size() - have);
      if (some <= 0) return fail_errno("its echo");
      have += static_cast<size_t>(some);
    }
    if (got != echo) return fail("makes something else of its input");
    typed.clear();
    echo.clear();
    return {};
  }

  int master_, slave_;
  const image::Terminal& terminal_;
  cc_t end_of_file_ = 0, literally_ = 0, reprint_ = 0;
  termios2 settings_{};
};

Result<> put_bytes(int master, int slave, const std::string& input) {
  termios2 as_it_is{};
  if (::ioctl(slave, TCSETS2, &as_it_is)) return fail_errno("TCSETS2");
  TRY(write_all(master, input, "its input"));
  for (int i = 0; i < kPatience && TRY(unread(slave)) != static_cast<int>(input.size()); ++i) ::usleep(1000);
  return TRY(unread(slave)) == static_cast<int>(input.size()) ? Result<>() : fail("does not take its input");
}

}  // namespace

Result<> dump_input(int slave, const termios2& settings, image::Terminal& out) {
  auto input = await_input(slave);
  if (!input) {
    if (!TRY(can_be_read(slave))) return {};
    return refuse_for_now("has input that has not been read, at which this kernel lets nobody look: " +
                          input.error().what);
  }
  if (input->on_its_way || input->bytes.size() > kMostInput)
    return refuse_for_now("has more input that has not been read than it takes");
  if (input->takes_next_literally)
    return refuse_for_now("awaits what is to be typed after a quoting character (VLNEXT)");
  out.set_input(std::move(input->bytes));
  if (!edits_lines(settings)) return {};
  if (!out.input().empty() && settings.c_lflag & EXTPROC)
    return refuse_for_now("has input that has not been read, whose lines the other end edits (EXTPROC)");
  for (uint32_t at = 0; at < out.input().size(); ++at)
    if (input->ends_line[at]) out.add_line_ends(at);
  if (other_line_ends(out).size() > kMostOthers || (input->has_been_pushed && out.input().contains(kEndOfFile)))
    return refuse_for_now("has input that has not been read, and lines in it that no terminal can be made to end so");
  return {};
}

Result<> put_input(int master, int slave, const termios2& settings, const image::Terminal& terminal) {
  if (!terminal.input().empty())
    TRY(edits_lines(settings) ? Typist(master, slave, terminal).type_all()
                              : put_bytes(master, slave, terminal.input()));
  if (::ioctl(slave, TCSETS2, &settings)) return fail_errno("TCSETS2");
  return {};
}

}  // namespace ks::engine::terminal
