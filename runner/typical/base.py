def main():
    print("hi")
    return {"a": 1, "b": [1.5, None, True], "c": "text"}
