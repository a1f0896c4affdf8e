def main():
    print("hi")
    return {"a": 1}
