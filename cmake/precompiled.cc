// The source of a target that exists for its precompiled headers alone (LongspanModule.cmake).
int main() { return 0; }
