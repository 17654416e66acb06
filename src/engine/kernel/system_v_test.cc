// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/system_v.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace ks::engine {
namespace {

class SystemV : public testing::Test {
 protected:
  void SetUp() override {
    set_ = ::semget(IPC_PRIVATE, 3, 0600);
    if (set_ < 0) GTEST_SKIP() << "no System V semaphores";
  }
  ~SystemV() override {
    if (set_ >= 0) ::semctl(set_, 0, IPC_RMID);
  }
  // What the end of a process makes of the semaphore that has done this.
  int after_the_end_of(const std::function<bool()>& work) {
    pid_t child = ::fork();
    if (child == 0) ::_exit(work() ? 0 : 1);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    return ::semctl(set_, 1, GETVAL);
  }
  bool does(std::vector<sembuf> operations) { return ::semop(set_, operations.data(), operations.size()) == 0; }

  int set_ = -1;
};

TEST_F(SystemV, AdjustmentsAreShiftedAndValuesAreNot) {
  for (int value : {0, 1, 7, 16383, 16384, 20000, 32767})
    for (int by : {1, 5, -1, -5, 9000, -9000}) {
      if (value + by < 0 || value + by > 32767) continue;
      ASSERT_EQ(::semctl(set_, 1, SETVAL, value), 0);
      EXPECT_EQ(after_the_end_of(
                    [&] { return does(shift_adjustment(1, value, by)) && ::semctl(set_, 1, GETVAL) == value; }),
                value + by);
    }
}

TEST_F(SystemV, AdjustmentsReachTheirLimits) {
  for (int value : {0, 16383, 16384, 32767})
    (void)after_the_end_of([&] {
      ::semctl(set_, 1, SETVAL, value);
      return does(shift_adjustment(1, value, 32767)) && !does(shift_adjustment(1, value, 1)) && errno == ERANGE &&
             does(shift_adjustment(1, value, -65535)) && !does(shift_adjustment(1, value, -1)) && errno == ERANGE;
    });
}

TEST_F(SystemV, AnImpossibleOperationUndoesWhatIsBeforeIt) {
  ASSERT_EQ(::semctl(set_, 1, SETVAL, 3), 0);
  EXPECT_EQ(after_the_end_of([&] {
              auto operations = shift_adjustment(1, 3, 2);
              operations.push_back({1, 9, 0});
              operations.push_back(impossible_operation(1));
              return !does(operations) && errno == EAGAIN;
            }),
            3);
  // While nobody has ended who has tried; the end counts as a use (seen on 6.18).
  auto operations = shift_adjustment(0, 0, 2);
  operations.push_back(impossible_operation(0));
  EXPECT_EQ(::semctl(set_, 0, GETPID), 0);
  EXPECT_FALSE(does(operations));
  EXPECT_EQ(::semctl(set_, 0, GETPID), 0);
}

TEST_F(SystemV, MessagesAreCopiedAndStay) {
  int queue = ::msgget(IPC_PRIVATE, 0600);
  ASSERT_GE(queue, 0);
  struct {
    long type;
    char text[8];
  } sent{7, "seven"};
  ASSERT_EQ(::msgsnd(queue, &sent, 6, 0), 0);
  sent.type = 3;
  ASSERT_EQ(::msgsnd(queue, &sent, 0, 0), 0);
  SystemVObject object;
  auto all = list_system_v().value();
  for (const auto& listed : all)
    if (listed.type == SystemVType::queue && listed.id == queue) object = listed;
  ASSERT_EQ(object.id, queue);
  EXPECT_EQ(object.users, (std::vector<pid_t>{::getpid(), 0}));
  auto messages = copy_messages(object).value();
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].type, 7);
  EXPECT_EQ(messages[0].text, std::string("seven\0", 6));
  EXPECT_EQ(messages[1].type, 3);
  EXPECT_EQ(messages[1].text, "");
  msqid_ds facts{};
  ASSERT_EQ(::msgctl(queue, IPC_STAT, &facts), 0);
  EXPECT_EQ(facts.msg_qnum, 2u);
  EXPECT_EQ(facts.msg_lrpid, 0);
  EXPECT_TRUE(remove_system_v(SystemVType::queue, queue));
}

TEST_F(SystemV, ObjectsAreMadeUnderTheirIdsByTheirCreators) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  for (auto type : {SystemVType::memory, SystemVType::queue, SystemVType::semaphores}) {
    constexpr int kId = 5 * 32768 + 1000;
    auto made = make_system_v(type, kId, IPC_PRIVATE, 0640, 5, {.uid = 4711, .gid = 4712});
    ASSERT_TRUE(made) << made.error().what;
    EXPECT_FALSE(make_system_v(type, kId, IPC_PRIVATE, 0640, 5, {}));
    bool found = false;
    auto all = list_system_v().value();
    for (const auto& object : all) {
      if (object.type != type || object.id != kId) continue;
      found = true;
      EXPECT_EQ(object.permissions.cuid, 4711u);
      EXPECT_EQ(object.permissions.cgid, 4712u);
      EXPECT_EQ(object.permissions.mode & 0777, 0640);
    }
    EXPECT_TRUE(found) << label_of(type, kId);
    EXPECT_TRUE(remove_system_v(type, kId));
  }
  EXPECT_EQ(::geteuid(), 0u);
}

}  // namespace
}  // namespace ks::engine
